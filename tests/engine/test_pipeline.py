"""The compiler's passes: the pipeline is short, and the verifiers between passes notice what is wrong."""

import ast
import copy
import dataclasses
import inspect
import re

import pytest
import torch
from torch.nn import functional as F

from unrolled.engine.ir.loop_programs import verify_programs
from unrolled.engine.passes import pipeline
from unrolled.engine.passes.differentiate import differentiate, verify_joint
from unrolled.engine.passes.lower.loop import lower_loop
from unrolled.engine.passes.normalize import normalize
from unrolled.engine.passes.partition import partition
from unrolled.engine.passes.split import split
from unrolled.engine.passes.trace import BATCH, of_trees, trace
from unrolled.engine.passes.verify_split import verify_split

PARTS = ("invariant", "held", "before", "loop", "after")


def test_the_pipeline_is_short_and_names_a_pass_in_each_line():
    source = inspect.getsource(pipeline.make_plan)
    assert len(source.splitlines()) <= 30
    [function] = ast.parse(source).body
    assert not [node for node in ast.walk(function) if isinstance(node, ast.For | ast.If | ast.comprehension)]


def step(tensors, x, state):
    """Something for each part, each of more than one operation."""
    weight, by_row = tensors
    h, c = state
    clock = F.dropout(x.cos().exp(), 0.5)
    held = by_row.sin() * 2
    inner = x @ weight.exp().neg() + h @ weight.t().tanh() + torch.ones_like(h)
    new = torch.tanh(inner * held.cos() + c * 0.5)
    y = (new.sin() * clock.sum(1, keepdim=True) + h.exp() + held, inner.abs().log1p())
    return y, (new, torch.sigmoid(c + x))


def traced():
    weight = torch.randn(4, 4)
    tensors, xs, states = [weight, torch.randn(2, 4)], [torch.randn(2, 4)], [torch.randn(2, 4)] * 2
    return normalize(trace(of_trees(step, None, 2), tensors, xs, states, by_row={1}))


@pytest.fixture
def parts():
    return verify_split(split(traced()))


def test_what_split_makes_is_right(parts):
    assert all(len(getattr(parts, name)) > 1 for name in PARTS)
    assert parts.previous == [0]
    assert parts.sequences == [0]
    assert len(parts.kept) == 1


@pytest.mark.parametrize("staying", ["widening", "all"])
def test_products_that_stay_are_right(staying):
    verify_split(split(traced(), staying=staying))


def in_order(nodes):
    place = {node: i for i, node in enumerate(nodes[0].graph.nodes)}
    return sorted(nodes, key=place.__getitem__)


def is_constant(node):
    return not node.all_input_nodes


def test_no_operation_may_be_missing_or_lie_in_another_part(parts):
    tried = 0
    for name in PARTS:
        own = getattr(parts, name)
        for node in own:
            less = {name: [other for other in own if other is not node]}
            elsewhere = [
                less | {other: in_order([*getattr(parts, other), node])}
                for other in PARTS
                if node not in getattr(parts, other) and not is_constant(node)
            ]
            for changes in (less, *elsewhere):
                tried += 1
                with pytest.raises(AssertionError, match=r"^split: \w+ "):
                    verify_split(dataclasses.replace(parts, **changes))
    assert tried > 80


def also(parts, name, *nodes):
    return {name: in_order([*getattr(parts, name), *nodes])}


#: a wrong split → what it changes, and what the verifier says
WRONG = {
    "an invariant reads what is held": (lambda p: also(p, "invariant", p.held[-1]), "is in invariant, and reads"),
    "held reads an input": (lambda p: also(p, "held", p.before[0]), "is in held, and reads"),
    "before reads the state": (lambda p: also(p, "before", *p.loop), "is in before, and reads"),
    "the loop reads a captured tensor": (lambda p: also(p, "loop", *p.held), "is in loop, and reads"),
    "the loop reads what is after it": (lambda p: {"next_states": [p.next_states[0], p.after[-1]]}, "among the next"),
    "after reads a state that is not told": (lambda p: {"previous": []}, "is in after, and reads"),
    "after reads what is not kept": (lambda p: {"kept": []}, "is in after, and reads"),
    "another order": (lambda p: {"loop": p.loop[::-1]}, "is out of order in loop"),
    "twice": (lambda p: {"before": [p.before[0], *p.before]}, "is out of order in before"),
    "a placeholder as an operation": (lambda p: also(p, "before", p.inputs[0]), "is no operation of the graph"),
    "a step twice": (lambda p: {"steps": p.steps * 2}, "is 2 times in steps"),
    "a step from elsewhere": (lambda p: {"steps": [*p.steps, p.captured[1]]}, "among the steps, and comes from else"),
    "a constant from elsewhere": (lambda p: {"constants": [*p.constants, *p.inputs]}, "among the constants, and"),
    "an output from elsewhere": (lambda p: {"ys": p.loop[-1:]}, "among the outputs, and comes from elsewhere"),
    "a kept next state": (lambda p: {"kept": [*p.kept, p.next_states[0]]}, "among the kept outputs, and comes"),
    "no such state before": (lambda p: {"previous": [0, 2], "sequences": [0, 2]}, "2 is in previous, and is no number"),
    "no such state after": (lambda p: {"sequences": [-1, 0]}, "-1 is in sequences, and is no number"),
    "states out of order": (lambda p: {"sequences": [1, 0]}, "0 is out of order in sequences"),
    "a state before, not after": (lambda p: {"previous": [0, 1]}, "1 is in previous and not in sequences"),
    "states too few": (lambda p: {"next_states": p.next_states[:1]}, "split: 1 next states, and 2 states"),
    "in two parts": (lambda p: also(p, "before", *p.held), "is in before, and does not depend on the input"),
    "after and before": (lambda p: also(p, "after", *p.before), "is in after, and does not depend on the state"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told(parts, name):
    change, words = WRONG[name]
    with pytest.raises(AssertionError, match=re.escape(words)):
        verify_split(dataclasses.replace(parts, **change(parts)))


#: a node that is not as it was → its place, its new value or operation, and what the verifier says
CHANGED = {
    "a step": (lambda p: p.steps[0], lambda v: v.sum(), "is in steps, and is not [batch, ...]"),
    "a state": (lambda p: p.states[0], lambda v: v.t(), "is in states, and is not [batch, ...]"),
    "a kept output": (lambda p: p.kept[0], lambda v: v[:1], "is in kept, and is not [batch, ...]"),
    "a constant": (lambda p: p.constants[-1], lambda v: v.new_empty(BATCH, BATCH), "has the batch elsewhere"),
    "an invariant": (lambda p: p.invariant[0], lambda v: v.new_empty(BATCH, 4), "is invariant, and has the"),
    "a next state's shape": (lambda p: p.next_states[0], lambda v: v[:, :2], "has another shape or dtype than"),
    "a next state's dtype": (lambda p: p.next_states[0], lambda v: v.double(), "has another shape or dtype than"),
    "an invariant that is drawn": (lambda p: p.invariant[0], torch.ops.aten.bernoulli.default, "depends on the input"),
    "a loop that draws": (lambda p: p.loop[-1], torch.ops.aten.bernoulli.default, "draws random numbers in the loop"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_node_that_is_not_as_it_was_is_told(parts, name):
    pick, change, words = CHANGED[name]
    node = pick(parts)
    if isinstance(change, torch._ops.OpOverload):
        node.target = change
    else:
        node.meta["val"] = change(node.meta["val"])
    with pytest.raises(AssertionError, match=re.escape(words)):
        verify_split(parts)


def test_a_joint_graph_that_does_not_fit_its_loop_is_told(parts):
    joint = differentiate(parts)
    wrong = {
        "inputs": {"is_float": joint.is_float[:-1]},
        "results": {"results": joint.results[:-1], "is_float": [*joint.is_float, False]},
        "gradients": {"is_float": [not joint.is_float[0], *joint.is_float[1:]]},
        "in the joint graph": {"results": [parts.captured[0], *joint.results[1:]]},
    }
    for words, changes in wrong.items():
        with pytest.raises(AssertionError, match=words):
            verify_joint(dataclasses.replace(joint, **changes))


def test_programs_of_different_loops_are_told(parts):
    programs = partition(lower_loop(parts, differentiate(parts)), torch.float32)
    assert verify_programs(programs) is programs
    forward = programs.forward
    wrong = [
        {"training": dataclasses.replace(forward, states=(4, 4, 4), next_states=forward.next_states[:1] * 3)},
        {"backward": dataclasses.replace(programs.backward, rows=(7,))},
        {"training": dataclasses.replace(programs.training, steps=(*forward.steps, 3))},
        {"training": dataclasses.replace(forward, outputs=())},
        {"n_kept": programs.n_kept + 1},
        {"backward_inputs": programs.backward_inputs[1:]},
        {"step_gradients": []},
        {"constant_gradients": []},
    ]
    for changes in wrong:
        with pytest.raises(AssertionError):
            verify_programs(dataclasses.replace(copy.copy(programs), **changes))
