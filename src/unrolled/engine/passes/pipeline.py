"""The compiler's passes in their order: a traced step becomes a plan.

Each pass is one function of one file. A verifier holds what a pass returns to its specification.
"""

import torch

from unrolled.engine.ir.loop_programs import Staying, verify_programs
from unrolled.engine.passes.assemble import assemble
from unrolled.engine.passes.differentiate import differentiate, verify_joint
from unrolled.engine.passes.lower.loop import lower_loop
from unrolled.engine.passes.normalize import normalize
from unrolled.engine.passes.outside import surround
from unrolled.engine.passes.partition import partition
from unrolled.engine.passes.rowwise import check_rowwise
from unrolled.engine.passes.split import split
from unrolled.engine.passes.trace import Traced
from unrolled.engine.passes.verify_split import verify_split
from unrolled.engine.run.plan import Plan


def make_plan(traced: Traced, dtype: torch.dtype, *, staying: Staying = "none") -> Plan:
    """How a traced step runs fused. Products of the inputs stay in the loop as `staying` says.

    Raises:
        NotTraceable: it cannot; the text says why.
        AssertionError: a pass broke its specification, which is a bug.
    """
    shown = str(traced.graph.graph)
    traced = normalize(traced)
    parts = verify_split(split(traced, staying=staying))
    joint = verify_joint(differentiate(parts))
    programs = verify_programs(partition(lower_loop(parts, joint), dtype))
    outside = check_rowwise(surround(parts))
    return assemble(dtype, programs, parts, outside, outputs_form=traced.outputs_form, traced=shown)
