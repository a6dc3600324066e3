"""A plan's data: what fits comes back as it was; what is changed at any place is refused, or is another whole plan."""

import contextlib
import copy
import json

import pytest
import torch

import unrolled
from unrolled.engine.backends.call_check import checked
from unrolled.engine.cache import disk, plan_data
from unrolled.engine.cache.plan_check import Damaged
from unrolled.engine.passes import rowwise
from unrolled.engine.passes.lower import features, grids, heads, rows

EVIL = [
    "__import__('os')",
    "os.system",
    "aten.from_file.default",
    "from_file.default",
    "add_.Tensor",
    "",
    "x\n",
    "é",
    0.5,
]
NUMBERS = [-1, 1 << 40, 10**400, True, None, "1", [], {}, 1.0, float("nan")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Of a plan, as a file holds it."""
    made = []
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    patch.setattr(disk, "save", lambda name, plan, *_: made.append(plan))
    layer = unrolled.GRU(2, 3)
    layer(torch.ones(4, 2, 2))
    patch.undo()
    return json.loads(json.dumps(plan_data.to_data(made[0])))


def places(data, path=()):
    """Where data has parts: each as the keys that lead to it."""
    yield path
    parts = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, part in parts:
        yield from places(part, (*path, key))


def at(data, path):
    for key in path:
        data = data[key]
    return data


@contextlib.contextmanager
def changed(data, path, value):
    """Within, the data has another value at a place."""
    before = at(data, path)
    at(data, path[:-1])[path[-1]] = value
    yield data
    at(data, path[:-1])[path[-1]] = before


def test_it_comes_back(data):
    assert plan_data.to_data(plan_data.from_data(data)) == data


def is_shown_alone(path):
    """Text and counts that `explain` shows."""
    return path[0] in ("traced", "n_before", "n_after")


def test_another_name_is_refused(data):
    names = [path for path in places(data) if path and isinstance(at(data, path), str) and not is_shown_alone(path)]
    assert len(names) > 50
    for path in names:
        for value in EVIL:
            with changed(data, path, value) as whole, pytest.raises(Damaged):
                plan_data.from_data(whole)


def test_a_number_out_of_range_or_of_another_type_is_refused(data):
    numbers = [path for path in places(data) if path and type(at(data, path)) is int and not is_shown_alone(path)]
    assert len(numbers) > 100
    for path in numbers:
        is_argument = "graph" in path and "node" not in path
        for value in [-1, 1 << 70, "1"] if is_argument else NUMBERS:
            with changed(data, path, value) as whole:
                found = plan_or_none(whole)
            # an optional number may be absent, and a list of arguments may be another one
            assert found is None or is_argument or value in (None, []), (path, value)


def plan_or_none(data):
    """None where the data is refused; any other exception than Damaged fails the test."""
    with contextlib.suppress(Damaged):
        return plan_data.from_data(data)
    return None


def test_parts_that_are_missing_or_unknown_are_refused(data):
    for path in places(data):
        part = at(data, path)
        if isinstance(part, dict) and not (path and is_shown_alone(path)):
            for key in part:
                if key == "node":
                    continue
                whole = copy.deepcopy(data)
                del at(whole, path)[key]
                with pytest.raises(Damaged):
                    plan_data.from_data(whole)
            whole = copy.deepcopy(data)
            at(whole, path)["more"] = 1
            with pytest.raises(Damaged):
                plan_data.from_data(whole)


def test_what_programs_take_is_held_to_the_plan(data):
    """Of numbers that are each in range: one fewer, one more, another order."""
    taken = ("steps", "states", "rows", "weights", "held", "shifted")
    lists = [path for path in places(data) if path[:1] == ("programs",) and path[-1] in taken]
    assert len(lists) == 3 * len(taken)
    for path in lists:
        part = at(data, path)
        for value in (part[1:], [*part, *(part[-1:] or [0])], part[::-1]):
            if value != part:
                with changed(data, path, value) as whole, pytest.raises(Damaged):
                    plan_data.from_data(whole)


@pytest.mark.parametrize("whole", [None, [], {}, 1, "text", [[]], {"graph": []}])
def test_other_data_is_refused(whole):
    with pytest.raises(Damaged):
        plan_data.from_data(whole)


def made():
    """The operations of ATen in the passes' tables, by name."""
    tables = {*rows.HANDLERS, *features.HANDLERS, *heads.HANDLERS, *grids.RESHAPES, *grids.SAME, *rowwise.ROWWISE}
    operations = [each for each in tables if isinstance(each, torch._ops.OpOverload) and each.namespace == "aten"]
    return {str(each).removeprefix("aten."): each for each in operations}


def test_all_operations_that_the_engine_makes_may_be_kept():
    assert len(made()) > 100
    assert all(plan_data.operation(name) is each for name, each in made().items())


def test_no_operation_is_listed_that_the_engine_does_not_make():
    assert made().keys() >= plan_data.ATEN


@pytest.mark.parametrize(
    "name",
    [
        "from_file.default",
        "add_.Tensor",
        "add.out",
        "__name__.x",
        "add.__class__",
        "add",
        "save.x",
        "set_.source_Tensor",
    ],
)
def test_other_operations_may_not(name):
    assert plan_data.operation(name) is None


@pytest.mark.parametrize(
    "line",
    ["import os", "return open", "return tensors.__class__", "return 'text'", "return lambda: 1", "return (1.5)",
     "return [getattr for getattr in ()][0] or missing"],
)  # fmt: skip
def test_generated_code_that_holds_anything_else_is_refused(line):
    with pytest.raises(ValueError, match="generated code holds what it may not"):
        checked(f"def call(tensors):\n    {line}\n", {"run"})


def test_generated_code_may_read_what_is_given():
    assert checked("def call(tensors):\n    first, = tensors\n    return run(first.stride(0), 3, None)\n", {"run"})
