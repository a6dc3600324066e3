"""Reasons, word for word, for each that there is; and steps that hardly fit a compiled loop: equal to the plain loop, or
refused with a reason that tells what it is.

`words` is a pattern that a reason must have if there is one; "line" stands for the file and the line of the step.
"""

import ast
import contextlib
import linecache
import re
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from tests.guard import function_steps, instruction_steps, python_steps, refused_steps, unfused_steps
from tests.guard.checks import (
    FORBIDDEN,
    HIDDEN,
    INPUT,
    Case,
    assert_as_eager,
    assert_reason,
    assert_same,
    at_most,
    outcome,
    scan_quietly,
    slow_but_for,
)
from tests.guard.odd_parts import STEPS, of
from tests.guard.refused_steps import REFUSED, Refusal
from tests.plans import forget_plans
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

import unrolled
from unrolled.engine import dispatch
from unrolled.engine.passes import trace
from unrolled.engine.step import guarded, path, refusals
from unrolled.engine.step.declared import Declared
from unrolled.errors import NotFusedError, NotFusedWarning

LINE = re.compile(r"odd_parts\.py\D{1,12}\d+")


def line_of(refusal: Refusal) -> str:
    """How the text ends: file, line and source."""
    if not refusal.line:
        return ""
    lines = Path(refusal.file).read_text().splitlines()
    [number] = [i for i, line in enumerate(lines, 1) if line.strip() == refusal.line]
    return f' ("{refusal.file}", line {number}: {refusal.line})'


assert instruction_steps  # which put their steps into the table
assert unfused_steps
IN_PYTHON = (python_steps.__file__, function_steps.__file__)


IS_NEWER = torch.__version__ >= "2.14"
#: whether they are captured, and so held to the plain loop: torch 2.14 does; so is since Python 3.12 what copies plain
#: values by no function that torch leaves out
IS_FUSED = {
    **dict.fromkeys(("context_variable", "product_of_its_own", "power_by_a_function"), IS_NEWER),
    "dataclass_as_a_dictionary": sys.version_info >= (3, 12),
}


def first_of_each_reason() -> list[Any]:
    """All steps; of those that do what people do in Python, each reason once by default."""
    found, known = [], set()
    for name, refusal in REFUSED.items():
        is_slow = refusal.file in IN_PYTHON and refusal.reason in known
        known.add(refusal.reason)
        found.append(pytest.param(name, marks=pytest.mark.slow) if is_slow else name)
    return found


@pytest.mark.parametrize("name", first_of_each_reason())
def test_the_exact_reason_of_a_step(name, monkeypatch):
    """Word for word, with the line; and the error and the warning say the same."""
    if name == "numbers_alone" and IS_NEWER:
        pytest.skip("torch 2.14 traces it, and its dtype is the reason")
    if name == "many_operations":
        monkeypatch.setattr(path, "MOST_OPERATIONS", 200)
    if name == "many_instructions":
        monkeypatch.setattr(path, "MOST_INSTRUCTIONS", 1000)
    refusal = REFUSED[name]
    reason = (
        refusal.reason.replace("2,000", "200").replace("100,000", "1,000")
        if name.startswith("many")
        else refusal.reason
    )
    step, case = refusal.make(), Case(refusal.make(), inputs=refusal.inputs, state=refusal.state)
    xs, state = case.arguments()
    with refusal.around():
        explanation = unrolled.explain(step, xs, state)
    if IS_FUSED.get(name):
        assert explanation.path == "fused", explanation.reason
        assert_as_eager(case, times=2)
        return
    assert explanation.path == "eager"
    assert explanation.reason == reason + line_of(refusal)
    assert FORBIDDEN.search(reason.replace("torch.compile leaves out", "")) is None
    with pytest.raises(NotFusedError) as error, refusal.around():
        unrolled.scan(step, xs, state, engine="fused")
    assert str(error.value) == f"scan: the step cannot run fused: {explanation.reason}."


@pytest.mark.parametrize(
    "name",
    slow_but_for(
        ["conditions_as_places", "enumerated", "frozen_key", "function_of_torch_compile", "step_of_torch_compile"],
        python_steps.FUSED,
    ),
)
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of torch.compile itself
def test_a_step_in_python_fuses_as_it_is(name):
    step = python_steps.FUSED[name]()
    assert_as_eager(Case(step), times=2)
    explanation = unrolled.explain(step, *Case(step).arguments())
    assert explanation.path == "fused", explanation.reason


#: they have another result at each call, by what they are
CHANGING = {"global_counter", "default_that_grows", "generator_of_numpy", "generator_of_python"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, each in REFUSED.items() if each.file in IN_PYTHON and name not in CHANGING]
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the steps, and of what torch deprecates
def test_a_step_in_python_that_is_refused_is_the_loop(name):
    step = REFUSED[name].make()
    xs, state = Case(step).arguments()
    assert_same(outcome(step, xs, state), outcome(step, xs, state, engine="eager"))


def _plain(x, h):
    return h, refused_steps.new(x, h)


def _with(context: Any) -> tuple[Any, ...]:
    return _plain, *Case(_plain).arguments(), context


def _of(xs: Tensor, state: Tensor, step: Any = _plain) -> tuple[Any, ...]:
    return step, xs, state, contextlib.nullcontext()


class _Mine(Tensor):
    pass


def _in_transform() -> Any:
    from torch._functorch.eager_transforms import grad_increment_nesting

    return grad_increment_nesting()


def _without_derivative(*_: Any, **__: Any) -> Any:
    raise RuntimeError("derivative for aten::sort is not implemented")


def _failing(*_: Any, **__: Any) -> Any:
    raise RuntimeError("as torch may")


#: a call that runs eagerly → step, inputs, state, context
CALLS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "it runs under a transform of torch.func": lambda: _with(_in_transform()),
    "it runs in forward-mode differentiation": lambda: _with(forward_ad.dual_level()),
    "it runs under autocast": lambda: _with(torch.autocast("cpu", torch.bfloat16)),
    "it runs under a mode that sees each operation of torch": lambda: _with(FlopCounterMode(display=False)),
    "torch has no derivative of aten.sort": lambda: _with(
        mock.patch.object(trace, "make_fx", return_value=_without_derivative)
    ),
    "its inputs or state were made in torch.inference_mode, and gradients are enabled": lambda: _of(
        torch.inference_mode()(torch.zeros)(3, 2, INPUT), torch.zeros(2, HIDDEN)
    ),
    "there are no time steps": lambda: _of(torch.zeros(0, 2, INPUT), torch.zeros(2, HIDDEN)),
    "there are no features": lambda: _of(torch.zeros(3, 2, INPUT), torch.zeros(2, 0)),
    "there are no rows": lambda: _of(torch.zeros(3, 0, INPUT), torch.zeros(0, HIDDEN)),
    "its inputs and state do not share a batch axis": lambda: _of(torch.zeros(3, 2, INPUT), torch.zeros(1, HIDDEN)),
    "its inputs and state are of torch.float32 and torch.float64; a fused loop takes one of float32, float64 and "
    "bfloat16": lambda: _of(torch.zeros(3, 2, INPUT), torch.zeros(2, HIDDEN, dtype=torch.float64)),
    "its inputs and state are of torch.float16; a fused loop takes one of float32, float64 and bfloat16": lambda: _of(
        torch.zeros(3, 2, INPUT).half(), torch.zeros(2, HIDDEN).half()
    ),
    "its inputs and state are of no floating dtype; a fused loop takes one of float32, float64 and bfloat16": lambda: (
        _of(torch.zeros(3, 2, INPUT).long(), torch.zeros(2, HIDDEN).long())
    ),
    "its tensors are not on the CPU; there are no kernels for other devices yet": lambda: _of(
        torch.zeros(3, 2, INPUT, device="meta"), torch.zeros(2, HIDDEN, device="meta")
    ),
    "its inputs or state are of a subclass of torch.Tensor": lambda: _of(
        torch.zeros(3, 2, INPUT), torch.zeros(2, HIDDEN).as_subclass(_Mine)
    ),
    "a tensor has no memory of its own": lambda: _of(torch._efficientzerotensor((3, 2, INPUT)), torch.zeros(2, HIDDEN)),
    "hooks on saved tensors are set, under which a step cannot be traced": lambda: _with(
        torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t)
    ),
    "torch cannot trace it as a graph of its own operations": lambda: _with(
        mock.patch.object(trace, "make_fx", return_value=_failing)
    ),
}


@pytest.mark.parametrize("reason", CALLS)
def test_the_exact_reason_of_a_call(reason):
    """What is around a step, and what it is called with."""
    forget_plans()
    step, xs, state, context = CALLS[reason]()
    with context:
        explanation = unrolled.explain(step, xs, state)
    assert (explanation.path, explanation.reason) == ("eager", reason)
    forget_plans()


def test_the_reason_within_torch_jit_trace():
    found = []

    def run(xs):
        found.append(unrolled.explain(_plain, xs, torch.zeros(2, HIDDEN)).reason)
        return xs * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        torch.jit.trace(run, torch.zeros(3, 2, INPUT), check_trace=False)
    assert found == ["it runs within torch.jit.trace"]


def test_the_reason_within_torch_compile():
    class Scaled(nn.Module):
        def forward(self, x, h):
            return h, refused_steps.new(x, h) * torch.tensor([0.1, 0.2, 0.3, 0.4])

    step = Scaled()

    def run(xs, state):
        return unrolled.scan(step, xs, state)[0] * 2

    with mock.patch.object(dispatch, "warn_once") as told:
        torch.compile(run, backend="eager", fullgraph=True)(torch.zeros(3, 2, INPUT), torch.zeros(2, HIDDEN))
    assert told.call_args.args == ("it makes a tensor of its own, which a graph of torch would have to hold",)


def _with_memory(tensors, x, state):
    new = torch.tanh(state + tensors[0])
    return new, new


def test_the_reason_of_a_tensor_with_other_rows(monkeypatch):
    """Such as a memory of the library's own steps has; those of a user's step are guarded."""
    monkeypatch.setattr(_with_memory, "__module__", "unrolled.of_a_test")
    step = Declared(_with_memory, (), [torch.ones(1, HIDDEN)], by_row=[0])
    with pytest.raises(NotFusedError) as error:
        unrolled.scan(step, torch.zeros(3, 2, INPUT), torch.zeros(2, HIDDEN), engine="fused")
    reason = "a tensor that the step captures has 1 rows, the batch 2"
    assert str(error.value) == f"scan: the step cannot run fused: {reason}."


def test_the_warning_of_a_step_that_is_built_again_and_again(monkeypatch):
    monkeypatch.setattr(guarded, "_OFTEN", 3)
    rates = [0.0]

    def step(x, h):
        return h, refused_steps.new(x, h) if rates[0] < 100 else h

    xs, state = Case(step).arguments()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(6):
            rates[0] = float(i)
            unrolled.scan(step, xs, state)
    number = step.__code__.co_firstlineno + 1
    [text] = [str(w.message) for w in caught if "was built" in str(w.message)]
    line = "return h, refused_steps.new(x, h) if rates[0] < 100 else h"
    assert text == (
        f'scan: a step was built 3 times, as what it reads changes between calls ("test_reasons.py", line '
        f"{number}: {line}). Each build takes a second and more; hold a number that changes in a tensor."
    )


MODULES = (
    "step/doing",
    "step/refusals",
    "step/capture",
    "step/path",
    "step/verify",
    "step/guarded",
    "passes/trace",
    "cache/eager_only",
    "cache/memory",
    "context",
    "passes/lower/product_operands",
    "source_lines",
    "reasons",
)
#: texts of three words and more that are no reasons, or that no step causes with the torch of today
NOT_IN_THE_TABLE = {
    ", which a graph of torch's operations cannot hold": "the end of texts, which are tested",
    "an object of …": "a part of a text: of a call whose function has no name",
    "it does what cannot be captured as a graph": "of an instruction that has no words, of which none is known",
    "certain side effects happened": "part of a message of torch's",
    "from user code:": "part of a message of torch's",
    "Unexpected type in sourceless": "part of a message of torch's",
    "the module …": "a part of a text: torch takes modules apart, so none is called; if one is, it is refused",
    "lambda L, G: […]": "source of an expression",
    "it calls two functions of one code that have different globals": "test_tensors.py has such a step",
    "the globals of a function": "what a guard compares",
    "float(…) == 0.0": "what a guard compares",
    "its capture does not hold for the very call that it was made of": "of no step that is known",
    ' ("…", line ……)': "the line, at the end of a text",
    "no floating dtype": "a part of a text, which is tested",
    "a step of the library's own makes no tensors of numbers": "an assertion",
    "torch … cannot capture a step as this version of Unrolled does; torch 2.13 and 2.14 can": "of another torch",
    "scan: a step was built … times, as what it reads changes between calls…. Each build takes a second and more; "
    "hold a number that changes in a tensor.": "a warning, which is tested",
    "scan: the step … gives something else than before, and its guards did not see the change": "test_compared.py",
    "…. It was captured anew, and is compared at each call now; please report it.": "test_compared.py",
    "its graph, as torch captures it, gives something else than the step itself": "test_compared.py",
    "it runs within torch.jit.trace": "tested by itself",
    "it calls a method that keeps its results, or that wraps another in C": "torch 2.13 takes methods for functions",
    "a function that torch.compile leaves out, such as unrolled.scan": "a part of a text, which is tested",
    "Unrolled fails to compile it, a fault of its own (…); please report it": "the tests raise the fault itself",
    "it makes a tensor of its own, which a graph of torch would have to hold": "tested by itself",
    "a tensor that the step captures has … rows, the batch …": "tested by itself",
    "its loop has … operations, which would take minutes to compile. Move out of the step what does not depend on the "
    "state, or repeat an inner loop less often": "tested in tests/engine/test_build.py",
    "its loop has … operations, each of which waits for the one before; a fused loop of so many cannot be compiled. "
    "Repeat an inner loop less often": "tested in tests/engine/test_build.py",
}


def texts_of(module: str) -> set[str]:
    """The texts of three words and more in a module, but for docstrings, keys and patterns; … stands for a value."""
    tree = ast.parse((Path(unrolled.__file__).parent / f"engine/{module}.py").read_text())
    left_out: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            left_out |= {id(key) for key in node.keys}
        if isinstance(node, ast.Expr):
            left_out.add(id(node.value))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
            left_out |= {id(each) for each in node.args}
        if isinstance(node, ast.arg | ast.AnnAssign):
            left_out |= {id(each) for each in ast.walk(node.annotation)} if node.annotation else set()
        if isinstance(node, ast.FunctionDef) and node.returns:
            left_out |= {id(each) for each in ast.walk(node.returns)}
        if isinstance(node, ast.JoinedStr):
            left_out |= {id(each) for each in node.values}
    found = set()
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [each.value if isinstance(each, ast.Constant) else "…" for each in node.values]
            found.add("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value.replace("{name}", "…"))
    return {text for text in found if len(text.split()) >= 3}


@pytest.mark.parametrize("module", MODULES)
def test_each_text_is_in_the_table(module):
    """A new text has a step that causes it."""
    for text in texts_of(module) - NOT_IN_THE_TABLE.keys():
        if not text.startswith("native_layer_norm "):  # a list of names
            assert is_caused(text), f"no step of the table causes: {text}"
    assert texts_of(module), "else the test would test nothing"


def is_caused(text: str) -> bool:
    """Whether a step of the table, or a call, has that reason. Before it may stand an operation's name, and … is a value;
    at the end the line, which the table has by itself.
    """
    parts = map(re.escape, text.removesuffix("…").split("…"))
    pattern = r"((aten|prims)\.\w+ )?" + "[^;]+".join(parts) + ("[^;]*" if text.endswith("…") else "")
    reasons = [*(refusal.reason for refusal in REFUSED.values()), *CALLS]
    return any(re.fullmatch(pattern, reason) for reason in reasons)


def texts_raised() -> set[str]:
    """What all modules of the engine give for reasons."""
    engine, found = Path(unrolled.__file__).parent / "engine", set()
    for file in engine.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("NotTraceable", "RunsEagerly"):
                found |= {
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in text.values)
                    if isinstance(text, ast.JoinedStr)
                    else text.value
                    for text in node.args
                    if isinstance(text, ast.JoinedStr) or (isinstance(text, ast.Constant) and text.value)
                }
    return found


@pytest.mark.parametrize("text", sorted(texts_raised()))
def test_each_reason_that_is_raised_is_in_the_table(text):
    assert is_caused(text) or text in NOT_IN_THE_TABLE, "no step of the table causes it"


def test_no_text_is_forgiven_that_is_no_longer_there():
    assert texts_raised().union(*map(texts_of, MODULES)) >= NOT_IN_THE_TABLE.keys()


def test_torchs_names_for_what_it_cannot_capture_are_still_torchs():
    """A key that no source of torch's has tells nothing any more."""
    folder = Path(torch.__file__).parent
    files = [*(folder / "_dynamo").rglob("*.py"), folder / "fx/experimental/symbolic_shapes.py"]
    sources = "".join(file.read_text() for file in files)
    made = {"Call to `torch.compiler.disable()`"}  # torch puts the name of the function in
    gone = {key for key in refusals._KINDS if key not in sources} - made
    assert gone <= ({"failed to find name", "failed to call str()"} if IS_NEWER else set())


FEW = [
    "where_instead",
    "numpy_constant",
    "index_put",
    "detached",
    "requires_grad_asked",
    "tried_finally",
    "a_queue",
    "cell_of_ours",
    "batch_statistics",
    "sorting",
]


@pytest.mark.parametrize("name", slow_but_for(FEW, STEPS))
def test_a_step_is_right_or_refused_with_what_it_is(name):
    function, words = STEPS[name]
    with at_most(60):
        for batch in (2, 3):
            case = Case(of(function), inputs=(3, batch, INPUT), state=(batch, HIDDEN))
            assert_as_eager(case, times=2, words=words)


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_the_same_without_gradients(name):
    """Where no gradient is asked for, another plan may be made."""
    function, words = STEPS[name]
    xs, state = Case(of(function)).arguments()
    with at_most(60), torch.no_grad():
        for _ in range(2):
            ours = scan_quietly(of(function), xs, state)
        theirs = unrolled.scan(of(function), xs, state, engine="eager")
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
        assert_reason(unrolled.explain(of(function), xs, state), words)


# of these the reason must name the line: one operation, or one statement, is what prevents the loop
WITH_A_LINE = [
    "if_sum",
    "if_any",
    "while_loop_on_a_value",
    "item",
    "to_list",
    "assert_on_a_value",
    "to_numpy",
    "sorting",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_A_LINE)
def test_a_reason_names_the_line_of_the_step(name):
    function, _ = STEPS[name]
    explanation = unrolled.explain(of(function), *Case(of(function)).arguments())
    if explanation.path == "eager":
        found = LINE.search(explanation.reason)
        assert found, f"no line in: {explanation.reason}"
        line = int(re.findall(r"\d+", found.group())[-1])
        first = function.__code__.co_firstlineno
        last = max(number for *_, number in function.__code__.co_lines() if number)
        assert first <= line <= last, f"line {line} is not within {first} to {last}: {explanation.reason}"


@pytest.mark.parametrize("name", ["if_sum", "item", "assert_on_a_value", "to_numpy", "while_loop_on_a_value"])
def test_the_warning_and_the_error_have_the_reason(name):
    """All three that tell a user of it say the same."""
    function, _ = STEPS[name]
    step = of(function)
    xs, state = Case(step).arguments()
    reason = unrolled.explain(step, xs, state).reason
    assert reason
    with pytest.raises(NotFusedError) as error:
        unrolled.scan(step, xs, state, engine="fused")
    assert reason.rstrip(".") in str(error.value)
    assert_reason(unrolled.explain(step, xs, state))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        unrolled.scan(step, xs, state)
        unrolled.scan(step, xs, state)
    own = [str(w.message) for w in caught if w.category is NotFusedWarning]
    assert len(own) <= 1, "one warning is enough"
    assert all(reason.rstrip(".") in text for text in own)


@pytest.mark.parametrize(
    "error",
    slow_but_for(
        [AssertionError, KeyError, StopIteration],
        [
            AssertionError,
            AttributeError,
            IndexError,
            KeyError,
            RuntimeError,
            StopIteration,
            TypeError,
            ValueError,
            OSError,
        ],
    ),
)
@pytest.mark.parametrize("text", [(), ("of the user's own",)], ids=["bare", "text"])
def test_an_error_that_a_step_raises_is_the_users(error, text):
    """It comes as it is raised, from the plain loop, as often as there, with its text."""

    def step(x, h):
        raise error(*text)

    xs, state = Case(step).arguments()
    for engine in ("auto", "eager"):
        with pytest.raises(error) as raised:
            scan_quietly(step, xs, state, engine=engine)
        assert raised.value.args == text
    assert_reason(unrolled.explain(step, xs, state))


def test_an_error_on_a_value():
    """It is raised at the step where the value is met, and not elsewhere."""

    def step(x, h):
        h = h + 1
        if h[0, 0] > 2:
            raise ValueError("too large")
        return h, h

    xs, state = Case(step).arguments()
    for engine in ("auto", "eager"):
        with pytest.raises(ValueError, match="too large"):
            scan_quietly(step, xs, state, engine=engine)
        ys, _ = scan_quietly(step, xs[:1], state * 0, engine=engine)
        assert ys.tolist() == (torch.zeros(1, 2, HIDDEN) + 1).tolist()


@pytest.mark.parametrize("name", ["wrong_sizes", "missing_name", "wrong_argument", "none", "no_pair"])
def test_a_step_with_a_fault_raises_as_the_plain_loop_does(name):
    def wrong_sizes(x, h):
        return h, h @ h

    def missing_name(x, h):
        return h, no_such_name(h)  # noqa: F821

    def wrong_argument(x, h):
        return h, torch.tanh(h, h)

    def none(x, h):
        return None

    def no_pair(x, h):
        return h

    step = locals()[name]
    xs, state = Case(step).arguments()
    found = []
    for engine in ("auto", "eager"):
        with pytest.raises(Exception) as raised:  # noqa: PT011 - the two must be the same
            scan_quietly(step, xs, state, engine=engine)
        found.append((type(raised.value), str(raised.value)))
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.parametrize("n", [50, 400, 3000])
def test_a_long_unrolled_loop_is_bounded(n):
    """A compiled loop is made within a bounded time, or the step runs eagerly with a reason."""

    def step(x, h):
        for i in range(n):
            h = torch.tanh(h + 0.01 * i)
        return h, h + x.sum(1, keepdim=True)

    with at_most(60):
        assert_as_eager(Case(step, inputs=(2, 2, INPUT)), words="large|long|many|operations|limit")


@pytest.mark.slow
@pytest.mark.parametrize("n", [6, 40])
def test_products_unrolled_within_a_step_are_bounded(n):
    """As of a cell that solves an equation by several unfolds a step."""
    w = torch.eye(HIDDEN, dtype=torch.float64) * 0.5

    def step(x, h):
        for _ in range(n):
            gate = torch.sigmoid(h.unsqueeze(2) * w - 0.1)
            h = (h + (gate * w).sum(1)) / (1 + gate.sum(1)) + 0.1 * x.sum(1, keepdim=True)
        return h, h

    with at_most(60):
        assert_as_eager(Case(step, inputs=(2, 2, INPUT)), words="large|long|many|operations|limit")


@pytest.mark.slow
@pytest.mark.parametrize("depth", [100, 2000])
def test_deep_recursion_is_bounded(depth):
    def again(y, n):
        return y if n == 0 else again(y + 0.001, n - 1)

    def step(x, h):
        h = torch.tanh(again(h, depth))
        return h, h

    xs, state = Case(step).arguments()
    with at_most(60):
        ours, theirs = (outcome(step, xs, state, engine=engine) for engine in ("auto", "eager"))
    assert isinstance(ours, type) == isinstance(theirs, type)


def test_loops_over_many_rows_are_bounded():
    """The tracer's own batch must not be what is looped over."""

    def step(x, h):
        total = h.new_zeros(HIDDEN)
        for i in range(x.shape[0]):
            total = total + h[i]
        h = torch.tanh(h + total)
        return h, h

    with at_most(20):
        for batch in (1, 3, 200):
            assert_as_eager(Case(step, inputs=(2, batch, INPUT), state=(batch, HIDDEN)))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["state", "input", "captured", "parameter", "output"])
def test_changes_in_place_of_what_outlives_the_step(target):
    """What the plain loop leaves in them is there after a scan too."""

    def run(engine):
        kept = torch.ones(HIDDEN, dtype=torch.float64)
        weight = nn.Parameter(torch.ones(HIDDEN, dtype=torch.float64))

        def step(x, h):
            if target == "state":
                h.mul_(0.5)
            elif target == "input":
                x.add_(1)
            elif target == "captured":
                kept.mul_(0.9)
            elif target == "parameter":
                weight.data.mul_(0.9)
            y = torch.tanh(h + x.sum(1, keepdim=True)) * kept * weight
            if target == "output":
                y.mul_(2)
            return y, y

        xs, state = Case(step).arguments()
        with torch.no_grad():
            results = []
            for _ in range(2):
                results += [leaf.clone() for leaf in scan_quietly(step, xs, state, engine=engine)]
                if engine == "auto":
                    assert_reason(unrolled.explain(step, xs, state))
        return [*results, xs, state, kept, weight.data]

    for a, b in zip(run("auto"), run("eager"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "returned",
    slow_but_for(["x", "expanded", "twice"], ["x", "h", "view_of_x", "expanded", "constant", "twice", "parameter"]),
)
def test_what_a_step_returns_as_it_is(returned):
    """Outputs never share memory with inputs, states or what the step holds."""
    kept = torch.ones(2, HIDDEN, dtype=torch.float64)

    def step(x, h):
        new = torch.tanh(h + x.sum(1, keepdim=True))
        what = {
            "x": x,
            "h": h,
            "view_of_x": x[:, :2],
            "expanded": x[:, :1].expand(-1, HIDDEN),
            "constant": kept,
            "twice": new,
            "parameter": kept[:1].expand(2, -1),
        }[returned]
        return (what, what) if returned == "twice" else what, new

    case = Case(step)
    assert_as_eager(case, times=2)
    xs, state = case.arguments()
    before = xs.clone(), state.clone(), kept.clone()
    ys, last = scan_quietly(step, xs, state)
    for leaf in (*(ys if isinstance(ys, tuple) else (ys,)), last):
        leaf.clone().add_(1)
        leaf.mul_(3)
    for now, then in zip((xs, state, kept), before, strict=True):
        assert torch.equal(now, then)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own tracing looks at it
@pytest.mark.parametrize("kind", ["module", "function"])
def test_a_step_under_a_users_torch_compile(kind):
    """A step that is compiled by the user is a callable like any other."""
    linear = nn.Linear(INPUT, HIDDEN).double()
    compiled = torch.compile(linear if kind == "module" else lambda x: torch.tanh(linear(x)), backend="eager")

    def step(x, h):
        h = torch.tanh(compiled(x) + h)
        return h, h

    assert_as_eager(Case(step, wanted=lambda: list(linear.parameters())), times=2)


@pytest.mark.slow
def test_a_step_in_another_thread_and_in_two_at_once():
    """What is known of a step is shared by threads, or not; it is right in each."""
    rates = [0.5]

    def step(x, h):
        h = torch.tanh(h * rates[0] + x.sum(1, keepdim=True))
        return h, h

    xs, state = Case(step).arguments()
    expected = unrolled.scan(step, xs, state, engine="eager")[0]
    found: list[Any] = []
    workers = [threading.Thread(target=lambda: found.append(scan_quietly(step, xs, state)[0])) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 4
    for each in found:
        torch.testing.assert_close(each, expected, rtol=1e-10, atol=1e-10)


def test_a_step_is_not_kept_alive():
    """What is known of a step goes with it, and what it holds."""
    import gc
    import weakref

    def run():
        model = nn.Linear(INPUT, HIDDEN).double()

        def step(x, h):
            h = torch.tanh(model(x) + h)
            return h, h

        for _ in range(2):
            scan_quietly(step, *Case(step).arguments())
        return weakref.ref(model)

    gone = run()
    gc.collect()
    assert gone() is None


def _branching(x, h):
    return h, (h if h.sum() > 1e9 else torch.tanh(h + x.sum(1, keepdim=True)))


class _Branching(nn.Module):
    input_size, hidden_size = INPUT, HIDDEN

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, HIDDEN)

    def forward(self, x, h):
        return h, (h if h.sum() > 1e9 else torch.tanh(h + x.sum(1, keepdim=True)))


class _Scanning(nn.Module):
    def forward(self, xs):
        return unrolled.scan(_branching, xs, torch.zeros(xs.shape[1], HIDDEN))[0]


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (_Scanning(), "return unrolled.scan(_branching, xs, torch.zeros(xs.shape[1], HIDDEN))[0]"),
        (unrolled.Recurrent(_Branching()), "call(torch.zeros(3, 2, INPUT))"),
        (lambda xs: unrolled.checkup(_Scanning(), xs), "return unrolled.scan(_branching, xs"),
    ],
)
def test_the_warning_points_at_the_users_line(call, line, monkeypatch):
    monkeypatch.setattr(dispatch, "_warned", set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(torch.zeros(3, 2, INPUT))
    [warning] = [each for each in caught if each.category is NotFusedWarning]
    assert warning.filename == __file__
    assert line in linecache.getline(__file__, warning.lineno)


@pytest.mark.parametrize("value", [0.5, -0.0])
def test_a_value_that_is_not_itself_refuses_no_other_step_of_its_code(value):
    def made(rate):
        return lambda x, h: (h, torch.tanh(h + x.sum(1, keepdim=True)) * float(rate))

    assert_as_eager(Case(made(refused_steps.Rate("nan"))), words="not equal to itself")
    case = Case(made(refused_steps.Rate(value)))
    assert_as_eager(case)
    assert unrolled.explain(case.step, *case.arguments()).path == "fused"
