"""Habits of the code that no linter checks. Each list of exceptions may only become shorter."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import fx

from tests.engine import odd_steps
from unrolled.engine.backends import cpu
from unrolled.engine.ir.program import POINTWISE, Builder, Value
from unrolled.engine.passes.lower.lowering import Lowering
from unrolled.engine.passes.trace import decompositions, make_graph, trace

SOURCE = Path(__file__).parent.parent / "src" / "unrolled"
MOST_LINES = {"function": 60, "class": 250, "file": 400}  # code of a function: its docstring does not count
#: what is longer for now. A thing that has to be long says `# long: why` instead, beside its name or on top of its file
TOO_LONG = {
    "engine/passes/lower/heads.py",
}
#: parameters that are true or false and can be given without their names
POSITIONAL_BOOLS = {
    # the signature of an operator of torch
    "engine/torch_compile/operator.py: loop(is_reversed)",
    "engine/torch_compile/operator.py: loop(is_training)",
    "engine/torch_compile/operator.py: loop_backward(is_reversed)",
    "engine/torch_compile/operator.py: _(is_reversed)",
    "engine/torch_compile/operator.py: _(is_training)",
    # torch traces the function, and is called with its arguments by position
    "engine/torch_compile/in_graph.py: _run(is_reversed)",
    "engine/torch_compile/in_graph.py: _run(recompute)",
    # the signature of an operator of torch, which the graph gives by position
    "engine/passes/lower/heads.py: _mean(keeps)",
    "engine/passes/lower/heads.py: _min(keeps)",
    "engine/passes/lower/heads.py: handler(keeps)",
}
#: functions that take `**options` and pass them on
PASSED_ON = {
    # in place of a function of torch's, whose signature is torch's
    "engine/step/path.py: follow_add",
    "engine/step/path.py: noted",
    "engine/step/undisturbed.py: called",
    "engine/step/undisturbed.py: noted",
    # for now
    "engine/passes/lower/rows.py: handler",
    "nn/torch_layers.py: __init__",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _files() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), path.read_text(encoding="utf-8")


def _functions() -> Iterator[tuple[str, Function]]:
    for name, text in _files():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Function):
                yield name, node


def _length(node: Function | ast.ClassDef) -> int:
    assert node.end_lineno is not None
    length = node.end_lineno - node.lineno + 1
    first = node.body[0]
    if isinstance(node, Function) and ast.get_docstring(node):
        assert first.end_lineno is not None
        length -= first.end_lineno - first.lineno + 1
    return length


def _longs(name: str, text: str) -> Iterator[str]:
    """What is too long in a file, and does not say why."""
    lines = text.splitlines()
    says_why = lambda line: "# long: " in line
    tree = ast.parse(text)
    code = tree.body[1:] if ast.get_docstring(tree) else tree.body
    if len(lines) > MOST_LINES["file"] and not any(map(says_why, lines[: code[0].lineno - 1])):
        yield name
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef):
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            head = lines[node.lineno - 1 : node.body[0].lineno]  # the signature may take several lines
            if _length(node) > MOST_LINES[kind] and not any(map(says_why, head)):
                yield f"{name}: {kind} {node.name}"


def _positional_bools(name: str, function: Function) -> Iterator[str]:
    positional = [*function.args.posonlyargs, *function.args.args]
    defaults = [None] * (len(positional) - len(function.args.defaults)) + function.args.defaults
    for argument, default in zip(positional, defaults, strict=True):
        annotation = ast.unparse(argument.annotation) if argument.annotation else ""
        is_bool = isinstance(default, ast.Constant) and isinstance(default.value, bool)
        if is_bool or annotation in ("bool", "bool | None"):
            yield f"{name}: {function.name}({argument.arg})"


def _passes_on(function: Function) -> bool:
    options = function.args.kwarg
    if options is None:
        return False
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    values = [keyword.value for call in calls for keyword in call.keywords if keyword.arg is None]
    return any(isinstance(value, ast.Name) and value.id == options.arg for value in values)


def _assert_only(found: set[str], exceptions: set[str]) -> None:
    assert found - exceptions == set(), "new ones"
    assert exceptions - found == set(), "no longer needed: take them off the list"


def test_nothing_is_too_long_without_a_reason():
    _assert_only({each for name, text in _files() for each in _longs(name, text)}, TOO_LONG)


def test_what_is_true_or_false_is_given_by_name():
    found = {each for name, function in _functions() for each in _positional_bools(name, function)}
    _assert_only(found, POSITIONAL_BOOLS)


def test_options_are_not_passed_on_unseen():
    _assert_only({f"{name}: {function.name}" for name, function in _functions() if _passes_on(function)}, PASSED_ON)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(a: bool): ...", ["f.py: f(a)"]),
        ("def f(a=True): ...", ["f.py: f(a)"]),
        ("def f(a: bool | None = None): ...", ["f.py: f(a)"]),
        ("def f(*, a: bool = False): ...", []),
    ],
)
def test_positional_bools_are_found(source, found):
    assert list(_positional_bools("f.py", ast.parse(source).body[0])) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f():" + "\n    1" * 60, ["f.py: function f"]),
        ("def f():" + "\n    1" * 59, []),
        ("def f(  # long: a table" + "\n    ):" + "\n    1" * 60, []),
        ('def f():\n    """One.' + "\n" * 60 + '"""\n    return 1', []),
        ("class A:" + "\n    a = 1" * 250, ["f.py: class A"]),
        ("a = 1\n" * 401, ["f.py"]),
        ('"""One."""\n# long: a table\n' + "a = 1\n" * 401, []),
    ],
)
def test_what_is_too_long_is_found(source, found):
    assert list(_longs("f.py", source)) == found


def test_each_pointwise_operation_has_its_vector_function():
    headers = [path.read_text(encoding="utf-8") for path in Path(cpu.__file__).parent.glob("*.h")]
    made = r"INLINE V v(\w+)\(|BY_(?:NUMBER|TWO)\((\w+),"
    functions = {found.group(1) or found.group(2) for text in headers for found in re.finditer(made, text)}
    assert set(POINTWISE) - functions == set()


def _operations_of(step: torch.nn.Module) -> set[str]:
    """The operations of a loop program that are made of a step's."""
    made = set()

    class Noting(Builder):
        def pointwise(self, op: str, *args: Value) -> Value:
            made.add(op)
            return super().pointwise(op, *args)

    tensors = [value.detach() for value in step.parameters()]
    names = [name for name, _ in step.named_parameters()]

    def function(tensors, xs, states, n_rows):
        ys, states = torch.func.functional_call(step, dict(zip(names, tensors, strict=True)), (xs[0], tuple(states)))
        return list(ys), None, list(states)

    states = [torch.zeros(3, odd_steps.HIDDEN)] * 2
    traced = trace(function, tensors, [torch.zeros(3, odd_steps.INPUT)], states).graph
    examples = [node.meta["val"] for node in traced.graph.nodes if node.op == "placeholder"]
    run = fx.Interpreter(traced).run
    nodes = list(make_graph(lambda *leaves: run(*leaves), examples, table=decompositions()).graph.nodes)
    lowering = Lowering(Noting())
    for i, node in enumerate(node for node in nodes if node.op == "placeholder"):
        if i < len(tensors):
            lowering.env[node] = lowering.constant(node, i, 10 * i)
        else:
            lowering.env[node] = lowering.builder.input("state", i, node.meta["val"].shape[1])
    lowering.lower([node for node in nodes if node.op == "call_function"])
    return made


def test_each_pointwise_operation_stands_in_the_random_steps():
    found = {operation for names in odd_steps.GROUPS for operation in _operations_of(odd_steps.sum_of(names))}
    assert set(POINTWISE) - found == set()
