"""Gradients watched while a run trains: metrics of each recurrent layer, and a line where something is wrong.

Inputs: a job, and the number of an update. Outputs: metrics, as columns of the log, and advice. What is measured comes
of one batch, that of the next update: its loss under a probe, and each scan once more with a gradient that enters at
its last state alone, as only that tells how far back it reaches.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unrolled import probing
from unrolled.engine.trees import Tree
from unrolled.insight.chains import Chain, chains_of
from unrolled.insight.layer_checkup import in_words
from unrolled.insight.probe import probe_keeping
from unrolled.insight.reach import DECADES, FAR, LEAST_STEPS, reach_of
from unrolled.randomness import set_aside
from unrolled.training.job import Job

_LONGEST = 1e6  # steps of a half-life; also what stands for a gradient that does not fall
_SATURATED = 0.75  # share of a layer's gate values
_GATED = "Gates open with training: go on for longer, or cut the sequences shorter."
_NOT_GATED = "Try --cell lstm or gru, or cut the sequences shorter."


@dataclass(frozen=True)
class LayerMetrics:
    """Metrics of one layer and direction.

    Attributes:
        name: such as "encoder, layer 1, forward".
        column: the same as a begin of names of columns.
        steps: of its sequence.
        first, last: norm of ∂loss/∂state at its first and last step, in the order of the loop; mean over the rows.
        half_life: steps back in which a gradient from the last state halves; at most a million.
        horizon: steps back at which a hundredth of it is left.
        decades: by how many powers of ten it grows to the first step.
        saturated: share of its gates' values.
        is_gated: whether a sigmoid is among them.
    """

    name: str
    column: str
    steps: int
    first: float
    last: float
    half_life: float
    horizon: int
    decades: float
    saturated: float
    is_gated: bool

    def columns(self) -> dict[str, float]:
        """For the log."""
        told = {"first": self.first, "last": self.last, "half_life": self.half_life, "saturated": self.saturated}
        return {f"{self.column}/{name}": value for name, value in told.items()}


def layer_metrics(job: Job, step: int, carried: Tree) -> list[LayerMetrics]:
    """The metrics of each recurrent layer, by the loss of an update; weights and random numbers stay as they are."""
    module, weights = job.module, list(job.module.parameters())
    module.train()
    try:
        with set_aside(weights[0].device):
            with probe_keeping(module) as (_, kept):
                loss, _ = job.loss(module, step, carried)
                loss.backward()
            return [_metrics(module, chain) for chain in chains_of(kept)]
    finally:
        for weight in weights:
            weight.grad = None


def advice(layers: Sequence[LayerMetrics], *, is_learning: bool) -> dict[str, str]:
    """A sentence for each thing that is wrong, by its name. What vanishes or saturates is told of a run that does not
    learn: one that does may well need no more.
    """
    found: dict[str, str] = {}
    judged = [each for each in layers if each.steps >= LEAST_STEPS]
    worst = max(judged, key=lambda each: each.decades, default=None)
    if worst is not None and worst.decades >= DECADES:
        found["explodes"] = (
            f"gradients explode in {worst.name}: 1e{worst.decades:.0f} times over {worst.steps} steps. "
            "Try --clip-state-gradient 1, a lower --lr, or another --cell."
        )
    if is_learning:
        return found
    best = max(judged, key=lambda each: each.horizon, default=None)
    if best is not None and best.horizon < FAR * (best.steps - 1):
        found["vanishes"] = (
            f"gradients vanish: {in_words(best.half_life)} in {best.name}, sequences are {best.steps} long. "
            f"{_GATED if best.is_gated else _NOT_GATED} Clipping does not help."
        )
    full = max(judged, key=lambda each: each.saturated, default=None)
    if full is not None and full.saturated >= _SATURATED:
        found["saturates"] = (
            f"{full.saturated:.0%} of the gates of {full.name} are saturated. Try a lower --lr, or smaller inputs."
        )
    return found


def _metrics(module: nn.Module, chain: Chain) -> LayerMetrics:
    norms = chain.gradients().mean(1)
    reach = reach_of(*_from_last_state(module, chain))
    gates = [gate.saturated.mean().item() for entry in chain.entries for gate in entry.gates.values()]
    half_life = _LONGEST if reach is None else min(_LONGEST, reach.half_life)
    return LayerMetrics(
        chain.name,
        "/".join([chain.module or "model", str(chain.layer), chain.entries[0].direction]),
        chain.n_steps,
        norms[0].item(),
        norms[-1].item(),
        half_life,
        0 if reach is None else reach.horizon,
        0.0 if reach is None or not math.isfinite(reach.decades) else reach.decades,
        sum(gates) / len(gates) if gates else 0.0,
        any(gate.function == "sigmoid" for entry in chain.entries for gate in entry.gates.values()),
    )


def _from_last_state(module: nn.Module, chain: Chain) -> tuple[Tensor, Tensor | None]:
    """Norms [time, batch] of a gradient that enters at the last state of the last of a chain's scans, in the order of
    the loop, and which rows run.
    """
    scan = chain.scans[-1].arguments
    detached = pytree.tree_map(lambda leaf: leaf.detach(), (scan.xs, scan.state))
    with probe_keeping(module) as (record, _):
        hook = probing.hook()
        assert hook is not None, "it is on"
        _, last = hook.run(scan._replace(xs=detached[0], state=detached[1]), engine="auto")
        floats = [leaf for leaf in pytree.tree_leaves(last) if leaf.requires_grad]
        if floats:
            torch.autograd.backward(floats, [torch.randn_like(leaf) for leaf in floats])
    entry = record.scans[-1]
    like = next(iter(entry.states.values()))
    parts = [norms.double().square() for norms in entry.gradients.values()] or [like.double() * 0]
    norms = torch.stack(parts).sum(0).sqrt()
    running = entry.running
    if scan.is_reversed:
        norms, running = norms.flip(0), None if running is None else running.flip(0)
    return norms.cpu(), None if running is None else running.cpu()
