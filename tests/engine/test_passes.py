"""Loops over features in passes: what is divided, and that each pass computes what one alone would."""

import math
import re

from hypothesis import given
from hypothesis import strategies as st

from unrolled.engine.backends.cpu import passes as module
from unrolled.engine.backends.cpu.passes import Line, passes
from unrolled.engine.ir.program import Builder

FUNCTIONS = {"vtanh": math.tanh, "vsigmoid": lambda x: 1 / (1 + math.exp(-x)), "vadd": lambda a, b: a + b}
FUNCTIONS |= {"vmul": lambda a, b: a * b, "vneg": lambda a: -a}


@st.composite
def loops(draw):
    """Lines of a loop over features, and what it stores."""
    builder = Builder()
    values = [builder.input("step", i, 4) for i in range(2)]
    for _ in range(draw(st.integers(1, 30))):
        op = draw(st.sampled_from(["tanh", "sigmoid", "add", "mul", "neg"]))
        args = [draw(st.sampled_from(values)) for _ in range(2 if op in ("add", "mul") else 1)]
        values.append(builder.pointwise(op, *args))
    values = list({id(value): value for value in values}.values())
    names = {id(value): f"a{i}" for i, value in enumerate(values)}
    lines = []
    for value in values:
        call = f"v{value.op}({', '.join(names[id(arg)] for arg in value.args)})"
        lines.append(
            Line(value, names[id(value)], f"x{value.attribute}" if value.op == "step" else call, value.op == "step")
        )
    stored = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
    return lines, [(value, f"stored[{i}] = {names[id(value)]};") for i, value in enumerate(stored)]


def run(strips, texts):
    """What the passes store, over one vector; a name is known within its pass alone."""
    stored = {}
    kept = {strip: {} for strip in strips}
    for text in texts:
        there = FUNCTIONS | kept | {"stored": stored, "i": 0, "x0": 0.3, "x1": -1.2}
        for statement in text:
            target, expression = re.fullmatch(r"(?:const V )?(.*?) = (.*);", statement).groups()
            exec(f"{target} = {expression}", there)
    return stored


@given(loops())
def test_passes_compute_what_one_pass_computes(loop):
    lines, stores = loop
    whole = [f"const V {line.name} = {line.text};" for line in lines] + [store for _, store in stores]
    assert run(*passes(lines, stores)) == run([], [whole])


def chain(builder, x, n):
    for _ in range(n):
        x = builder.pointwise("tanh", x)
    return x


def lines_of(root):
    found = {}

    def visit(value):
        for arg in value.args:
            visit(arg)
        call = f"v{value.op}({', '.join(found[id(arg)].name for arg in value.args)})"
        found.setdefault(id(value), Line(value, f"a{len(found)}", call, value.op == "step"))

    visit(root)
    return list(found.values())


def test_each_function_that_waits_for_another_has_a_pass():
    builder = Builder()
    x = builder.input("step", 0, 4)
    for n in (1, 2, 3):
        root = chain(builder, x, n)
        strips, texts = passes(lines_of(root), [(root, "store;")])
        assert len(texts) == n
        assert len(strips) == n - 1
        assert all(sum("vtanh" in statement for statement in text) == 1 for text in texts)
        assert texts[-1][-1] == "store;"
    root = builder.pointwise("add", builder.pointwise("tanh", x), builder.pointwise("sigmoid", x))
    assert len(passes(lines_of(root), [(root, "store;")])[1]) == 1, "they wait for nothing"


def test_where_too_much_would_be_kept_one_pass_does_it(monkeypatch):
    monkeypatch.setattr(module, "MOST", 1)
    builder = Builder()
    root = chain(builder, builder.input("step", 0, 4), 3)
    strips, texts = passes(lines_of(root), [(root, "store;")])
    assert not strips
    assert [sum("vtanh" in statement for statement in text) for text in texts] == [3]
