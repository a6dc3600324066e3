"""Making a plan leaves nothing behind: the world after a call is as the plain loop leaves it, also where a call falls back."""

import copy
import itertools
import json
import logging
import operator
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo
from tests.guard.checks import HIDDEN, INPUT, assert_reason, assert_same, scan_quietly, slow_but_for
from torch import Tensor, nn
from torch._dynamo import guards
from torch.utils.checkpoint import checkpoint

import unrolled
from unrolled.errors import NotFusedWarning

ROOT = Path(__file__).resolve().parents[2]


class Model(nn.Module):
    """A step with a linear layer and a trace of what is done to it."""

    def __init__(self, inside: Callable[[Any, Tensor], Tensor] = lambda self, y: y):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(11)
            self.linear = nn.Linear(INPUT, HIDDEN).double()
        self.inside = inside
        self.traces: list[Any] = []
        self.count = 0

    def forward(self, x, h):
        h = torch.tanh(self.inside(self, self.linear(x)) + h)
        return h, h


def arguments(**options: Any) -> tuple[Tensor, Tensor]:
    numbers = torch.Generator().manual_seed(3)
    xs = torch.randn(4, 2, INPUT, generator=numbers, dtype=torch.float64, **options)
    return xs, torch.zeros(2, HIDDEN, dtype=torch.float64)


def states_of_generators() -> tuple[Any, ...]:
    return (
        torch.get_rng_state().tolist(),
        repr(random.getstate()),
        repr(np.random.get_state()),
    )


def a_step(number: float) -> Callable:
    """A new step, which no plan is known of."""

    def step(x, h):
        h = torch.tanh(h * number + x.sum(1, keepdim=True))
        return h, h

    return step


@pytest.mark.parametrize("call", slow_but_for(["scan"], ["scan", "explain", "training"]))
def test_no_number_is_drawn(call):
    xs, state = arguments(requires_grad=call == "training")
    for number in (0.5, 0.5, 0.123):  # the plan is made, read from the disk, made
        before = states_of_generators()
        if call == "explain":
            unrolled.explain(a_step(number), xs, state)
        else:
            ys, _ = scan_quietly(a_step(number), xs, state)
        if call == "training":
            ys.sum().backward()
        assert states_of_generators() == before


@pytest.mark.parametrize("number", [0.31, 0.32])
def test_hooks_on_saved_tensors_see_none_that_tracing_saves(number):
    """Else a checkpoint, which counts them, raises at the first call of a step."""
    xs, state = arguments(requires_grad=True)
    step, gradients, counts = Model(lambda _, y: y * number), [], []
    if number == 0.31:  # two sets of hooks, of which the last one is called
        hooks = torch.autograd.graph.saved_tensors_hooks
        with hooks(lambda t: counts.append(0), lambda _: None), hooks(lambda t: counts.append(1) or t, lambda t: t):
            scan_quietly(step, xs, state)
            n_first = len(counts)
            scan_quietly(step, xs, state)
        assert counts == [1] * 2 * n_first != []
    for run in (
        lambda: checkpoint(scan_quietly, step, xs, state, use_reentrant=False),
        lambda: scan_quietly(step, xs, state),
    ):
        gradients += torch.autograd.grad(run()[0].sum(), xs)
    torch.testing.assert_close(*gradients)


def test_explaining_draws_nothing_of_a_step_that_draws():
    xs, state = arguments()
    before = states_of_generators()
    unrolled.explain(
        lambda x, h: (h, torch.tanh(h + torch.rand_like(h) + random.random() + np.random.rand())), xs, state
    )
    assert states_of_generators() == before


@torch._dynamo.assume_constant_result
def noise():
    """What torch calls while it captures."""
    return random.random() + np.random.rand() + torch.rand(()).item()


def test_explaining_draws_nothing_where_torch_calls_what_draws():
    before = states_of_generators()
    found = unrolled.explain(lambda x, h: (h, torch.tanh(h + noise())), *arguments())
    assert "whose result is assumed to be constant" in found.reason
    assert states_of_generators() == before


def test_a_generator_of_the_users_own_is_left_alone():
    """It draws as often as in the plain loop, and the numbers are the same."""
    generator = torch.Generator().manual_seed(1)

    def step(x, h):
        h = torch.tanh(h + torch.rand(HIDDEN, generator=generator, dtype=torch.float64))
        return h, h

    assert_same_effects(step, lambda: generator.get_state().tolist(), lambda: generator.manual_seed(1))


def assert_same_effects(step: Callable, read: Callable[[], Any], reset: Callable[[], Any], times: int = 2) -> None:
    """`times` calls and an explanation between them: results and what `read` tells equal those of plain loops.

    `read()` is what the step leaves behind; `reset()` puts it back.
    """
    xs, state = arguments()

    def run(engine: str) -> tuple[list[Any], list[Any]]:
        reset()
        results, effects = [], []
        for _ in range(times):
            results += scan_quietly(step, xs, state, engine=engine)
            effects.append(copy.deepcopy(read()))
            if engine == "auto":
                assert_reason(unrolled.explain(step, xs, state))
                assert read() == effects[-1], "the explanation left something behind"
        return results, effects

    ours, theirs = run("auto"), run("eager")
    assert ours[1] == theirs[1]
    assert_same([leaf.detach() for leaf in ours[0]], [leaf.detach() for leaf in theirs[0]])


def _of_model(inside: Callable[[Model, Tensor], Tensor]) -> None:
    model = Model(inside)

    def reset():
        model.traces.clear()
        model.count = 0

    assert_same_effects(model, lambda: (list(model.traces), model.count, sorted(vars(model))), reset)


def _appends(self, y):
    self.traces.append(1)
    return y


def _appends_a_tensor_as_number(self, y):
    self.traces.append(float(y.detach().sum()))
    return y


def _counts(self, y):
    self.count += 1
    return y


def _counts_and_reads(self, y):
    self.count += 1
    return y * self.count


def _counts_by_dictionary(self, y):
    vars(self)["count"] += 1
    return y / (1 + self.count)


def _alternates(self, y):
    self.count = 1 - self.count
    return torch.tanh(y) if self.count else torch.sigmoid(y)


def _pops(self, y):
    self.traces.append(len(self.traces))
    if len(self.traces) > 2:
        self.traces.pop(0)
    return y + self.traces[0]


def _inserts(self, y):
    self.traces.insert(0, self.count)
    self.count += 1
    return y + self.traces[0]


def _extends(self, y):
    self.traces += [1, 2]
    return y / (1 + len(self.traces))


def _sorts(self, y):
    self.traces.extend([2, 1])
    self.traces.sort()
    return y + self.traces[0]


@pytest.mark.parametrize(
    "inside",
    slow_but_for(
        [_appends, _counts_and_reads, _alternates],
        [
            _appends,
            _appends_a_tensor_as_number,
            _counts,
            _counts_and_reads,
            _counts_by_dictionary,
            _alternates,
            _pops,
            _inserts,
            _extends,
            _sorts,
        ],
    ),
)
def test_what_a_step_writes_on_an_object(inside):
    _of_model(inside)


def test_a_global_that_a_step_counts():
    names: dict[str, Any] = {"torch": torch, "count": 0}
    exec(
        "def step(x, h):\n    global count\n    count += 1\n    h = torch.tanh(h + x.sum(1, keepdim=True) / count)\n"
        "    return h, h",
        names,
    )
    assert_same_effects(names["step"], lambda: names["count"], lambda: names.update(count=0))


def test_a_variable_of_a_closure_that_a_step_counts():
    count = 0

    def step(x, h):
        nonlocal count
        count += 1
        h = torch.tanh(h + x.sum(1, keepdim=True) / count)
        return h, h

    def reset():
        nonlocal count
        count = 0

    assert_same_effects(step, lambda: count, reset)


@pytest.mark.parametrize(
    "kind",
    slow_but_for(
        ["dict", "numpy", "tensor"],
        ["dict", "set", "deque", "counter", "attribute_of_a_function", "class", "numpy", "tensor"],
    ),
)
def test_other_things_that_a_step_writes(kind):
    from collections import Counter, deque

    table: dict[str, int] = {"n": 0}
    members: set[int] = set()
    queue: deque[int] = deque(maxlen=3)
    counter: Counter[str] = Counter()
    array = np.zeros(1)
    tensor = torch.zeros(1, dtype=torch.float64)

    class Kept:
        n = 0

    def count() -> float:
        if kind == "dict":
            table["n"] += 1
            return table["n"]
        if kind == "set":
            members.add(len(members))
            return len(members)
        if kind == "deque":
            queue.append(len(queue))
            return sum(queue)
        if kind == "counter":
            counter["n"] += 1
            return counter["n"]
        if kind == "attribute_of_a_function":
            step.n = getattr(step, "n", 0) + 1
            return step.n
        if kind == "class":
            Kept.n += 1
            return Kept.n
        if kind == "numpy":
            array[0] += 1
            return float(array[0])
        tensor.add_(1)
        return tensor

    def step(x, h):
        h = torch.tanh(h + x.sum(1, keepdim=True) / (1 + count()))
        return h, h

    def read():
        kept = dict(table), set(members), list(queue), dict(counter), array.tolist(), tensor.tolist()
        return kept, getattr(step, "n", 0), Kept.n

    def reset():
        table["n"] = Kept.n = step.n = 0
        for each in (members, queue, counter):
            each.clear()
        array[0] = 0
        tensor.zero_()

    assert_same_effects(step, read, reset)


ITERATORS: dict[str, Callable[[list[Any]], Any]] = {
    "iterator_of_a_list": iter,
    "generator": lambda items: (item for item in items),
    "cycle": itertools.cycle,
    "count": lambda items: itertools.count(1),
    "map": lambda items: map(operator.neg, items),
    "zip": lambda items: (pair[0] for pair in zip(items, items, strict=True)),
    "enumerate": lambda items: (pair[1] for pair in enumerate(items)),
    "chain": lambda items: itertools.chain(items),
    "islice": lambda items: itertools.islice(items, 1, None),
    "reversed": reversed,
    "iterator_of_a_dict": lambda items: iter(dict(enumerate(items)).values()),
    "repeat": lambda items: itertools.repeat(items[0]),
    "iterator_of_a_tensor": lambda items: iter(torch.arange(len(items), dtype=torch.float64)),
    "accumulate": lambda items: itertools.accumulate(items),
}


@pytest.mark.parametrize("is_tensor", slow_but_for([True], [True, False]), ids=["tensors", "numbers"])
@pytest.mark.parametrize("kind", slow_but_for(["iterator_of_a_list", "generator", "count", "zip"], ITERATORS))
def test_an_iterator_that_a_step_takes_from(kind, is_tensor):
    numbers = [0.1 * i for i in range(1, 40)]
    items = [torch.full((HIDDEN,), n, dtype=torch.float64) for n in numbers] if is_tensor else numbers
    kept: list[Any] = [None]

    def step(x, h):
        h = torch.tanh(h + x.sum(1, keepdim=True) * next(kept[0]))
        return h, h

    def reset():
        kept[0] = ITERATORS[kind](items)

    # how far the iterator is shows in the results of the second call
    assert_same_effects(step, lambda: 0, reset)


def test_an_iterator_of_a_class_of_ones_own():
    class Steps:
        def __init__(self):
            self.at = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.at += 1
            return 0.1 * self.at

    steps = Steps()

    def step(x, h):
        h = torch.tanh(h + x.sum(1, keepdim=True) * next(steps))
        return h, h

    assert_same_effects(step, lambda: steps.at, lambda: setattr(steps, "at", 0))


def test_a_generator_that_is_sent_to():
    def counting():
        total = 0.0
        while True:
            total += yield total

    kept: list[Any] = [None]

    def step(x, h):
        h = torch.tanh(h + x.sum(1, keepdim=True) * kept[0].send(0.1))
        return h, h

    def reset():
        kept[0] = counting()
        next(kept[0])

    assert_same_effects(step, lambda: 0, reset)


@pytest.mark.parametrize("drawing", slow_but_for(["random", "numpy"], ["random", "numpy", "numpy_generator", "time"]))
def test_numbers_from_elsewhere(drawing):
    """Each step draws anew, as in the plain loop: numbers of one step are never those of all."""
    import time

    generators: list[Any] = [None]
    counted: list[int] = [0]

    def draw():
        if drawing == "random":
            return random.random()
        if drawing == "numpy":
            return float(np.random.rand())
        if drawing == "numpy_generator":
            return float(generators[0].random())
        counted[0] += 1
        return time.time_ns() * 0

    def step(x, h):
        h = torch.tanh(h + x.sum(1, keepdim=True) * draw())
        return h, h

    def reset():
        counted[0] = 0
        random.seed(1)
        np.random.seed(1)
        generators[0] = np.random.default_rng(1)

    assert_same_effects(
        step, lambda: (states_of_generators(), repr(generators[0].bit_generator.state), counted[0]), reset
    )


HOOKS: dict[str, Callable[[nn.Module, Callable[..., None]], Any]] = {
    "forward": lambda module, call: module.register_forward_hook(call),
    "forward_pre": lambda module, call: module.register_forward_pre_hook(call),
    "forward_with_kwargs": lambda module, call: module.register_forward_hook(call, with_kwargs=True),
    "always_called": lambda module, call: module.register_forward_hook(call, always_call=True),
    "all_modules": lambda module, call: nn.modules.module.register_module_forward_hook(call),
    "all_modules_pre": lambda module, call: nn.modules.module.register_module_forward_pre_hook(call),
    "full_backward": lambda module, call: module.register_full_backward_hook(call),
    "full_backward_pre": lambda module, call: module.register_full_backward_pre_hook(call),
    "all_modules_backward": lambda module, call: nn.modules.module.register_module_full_backward_hook(call),
    "of_a_parameter": lambda module, call: next(module.parameters()).register_hook(call),
}


@pytest.mark.parametrize("where", slow_but_for(["linear"], ["linear", "step"]))
@pytest.mark.parametrize("kind", slow_but_for(["forward", "all_modules", "of_a_parameter"], HOOKS))
def test_a_hook_fires_as_often_as_in_the_plain_loop(kind, where):
    """What is seen by hooks of parameters may be one gradient or several; the plain loop's autograd adds them up first."""
    xs, state = arguments(requires_grad=True)
    fired = {}
    for engine in ("auto", "eager"):
        model, calls = Model(), []
        handle = HOOKS[kind](
            model.linear if where == "linear" else model, lambda *_, calls=calls, **__: calls.append(1)
        )
        try:
            for _ in range(2):
                ys, _ = scan_quietly(model, xs, state, engine=engine)
                ys.sum().backward()
                if engine == "auto":
                    n = len(calls)
                    unrolled.explain(model, xs, state)
                    assert len(calls) == n
        finally:
            handle.remove()
        fired[engine] = len(calls)
    assert fired["auto"] == fired["eager"]
    assert fired["eager"] > 0


@pytest.mark.parametrize("is_training", slow_but_for([True], [True, False]))
@pytest.mark.parametrize("norm", slow_but_for([nn.BatchNorm1d], [nn.BatchNorm1d, nn.SyncBatchNorm, nn.InstanceNorm1d]))
def test_running_statistics(norm, is_training):
    """Counters and means move as in the plain loop, once a step."""
    xs, state = arguments()
    results = {}
    for engine in ("auto", "eager"):
        model = Model()
        options = {"track_running_stats": True} if norm is nn.InstanceNorm1d else {}
        model.norm = norm(HIDDEN, **options).double().train(is_training)
        if norm is nn.InstanceNorm1d:
            model.inside = lambda self, y: self.norm(y.unsqueeze(2).expand(-1, -1, 2)).sum(2)
        else:
            model.inside = lambda self, y: self.norm(y)
        results[engine] = []
        for _ in range(2):
            results[engine] += [leaf.detach() for leaf in scan_quietly(model, xs, state, engine=engine)]
            if engine == "auto":
                assert_reason(unrolled.explain(model, xs, state))
            results[engine] += [buffer.clone() for buffer in model.buffers()]
    assert_same(results["auto"], results["eager"])


def test_spectral_norm_moves_its_vectors_as_often():
    xs, state = arguments()
    results = {}
    for engine in ("auto", "eager"):
        torch.manual_seed(0)
        model = Model()
        nn.utils.parametrizations.spectral_norm(model.linear)
        results[engine] = []
        for _ in range(2):
            results[engine] += [leaf.detach() for leaf in scan_quietly(model, xs, state, engine=engine)]
            unrolled.explain(model, xs, state)
            results[engine] += [buffer.clone() for buffer in model.buffers()]
    assert_same(results["auto"], results["eager"])


def test_nothing_is_written_on_step_modules_and_tensors():
    """No attribute, hook, gradient or version of anything that a user holds changes."""
    model = Model()
    xs, state = arguments(requires_grad=True)

    def seen():
        modules = [
            (sorted(vars(m)), [len(v) for v in vars(m).values() if isinstance(v, dict)]) for m in model.modules()
        ]
        tensors = [*model.parameters(), xs, state]
        kept = [(t._version, sorted(vars(t)), t.grad is None, t._backward_hooks, t.requires_grad) for t in tensors]
        return modules, kept, model.forward.__func__, type(model).__mro__, dict(vars(nn.Linear)).keys()

    before = seen()
    for _ in range(2):
        scan_quietly(model, xs, state)
        unrolled.explain(model, xs, state)
    assert seen() == before


def test_a_step_that_prints_prints_as_often(capsys):
    xs, state = arguments()

    def step(x, h):
        print("a step")  # noqa: T201
        return h, torch.tanh(h + x.sum(1, keepdim=True))

    printed = {}
    for engine in ("auto", "eager"):
        for _ in range(2):
            scan_quietly(step, xs, state, engine=engine)
        printed[engine] = capsys.readouterr().out
    assert printed["auto"] == printed["eager"] == "a step\n" * 8
    unrolled.explain(step, xs, state)
    assert capsys.readouterr().out == ""


def test_a_step_that_logs_and_warns_does_so_as_often(caplog):
    xs, state = arguments()
    logger = logging.getLogger("a_logger_of_a_test")

    def step(x, h):
        logger.warning("a step")
        warnings.warn("a step", UserWarning, stacklevel=1)
        return h, torch.tanh(h + x.sum(1, keepdim=True))

    seen = {}
    for engine in ("auto", "eager"):
        caplog.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                unrolled.scan(step, xs, state, engine=engine)
        own = [w for w in caught if not issubclass(w.category, NotFusedWarning)]
        logged = [record for record in caplog.records if record.levelno >= logging.WARNING]
        seen[engine] = len(logged), [str(w.message) for w in own]
    assert seen["auto"] == seen["eager"]
    assert seen["eager"][0] == 8


LOUD: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "plain": lambda x, h: torch.tanh(h + x.sum(1, keepdim=True)),
    "branch": lambda x, h: torch.tanh(h) if h.sum() > 0 else torch.sigmoid(h),
    "item": lambda x, h: torch.tanh(h + x.sum().item()),
    "rows": lambda x, h: torch.stack([torch.tanh(row) for row in h]),
    "size": lambda x, h: torch.tanh(h / h.shape[0]),
    "numpy": lambda x, h: torch.tanh(h + torch.from_numpy(np.asarray(x.numpy().sum()))),
    "sort": lambda x, h: h.sort(1)[0],
    "in_place": lambda x, h: h.clone().tanh_(),
    "unknown_function": lambda x, h: torch.tanh(h + hash("a") % 2),
}


@pytest.mark.parametrize("name", slow_but_for(["plain", "branch", "item", "numpy"], LOUD))
def test_nothing_is_printed_logged_or_warned(name, capfd, caplog):
    """Not by torch's tracing either; the one warning of a fall-back is Unrolled's."""
    xs, state = arguments()
    step = lambda x, h: (h, LOUD[name](x, h))
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            unrolled.scan(step, xs, state)
        unrolled.explain(step, xs, state)
    assert [str(w.message) for w in caught if not issubclass(w.category, NotFusedWarning)] == []
    assert len(caught) <= 1
    assert capfd.readouterr() == ("", "")
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


@pytest.mark.slow
def test_settings_of_torch_are_as_they_were():
    """Global settings, the compiler's included, are the user's."""
    import torch._dynamo as dynamo

    def seen():
        return (
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.is_inference_mode_enabled(),
            torch.overrides._get_current_function_mode_stack(),
            torch.utils._python_dispatch._get_current_dispatch_mode_stack(),
            dynamo.config.get_config_copy(),
            dict(os.environ),
            sys.getrecursionlimit(),
            list(warnings.filters),
            logging.getLogger().level,
            sorted(logging.getLogger("torch._dynamo").handlers, key=id),
            sys.excepthook,
        )

    before = seen()
    for name in LOUD:
        scan_quietly(lambda x, h, name=name: (h, LOUD[name](x, h)), *arguments())
    assert seen() == before


def test_a_users_own_torch_compile_is_left_alone():
    """It keeps its compiled code."""
    import torch._dynamo as dynamo

    compiled = torch.compile(lambda a: torch.tanh(a) * 2, backend="eager")
    a = torch.randn(3)
    compiled(a)
    scan_quietly(a_step(0.77), *arguments())
    with torch.compiler.set_stance("fail_on_recompile"):
        compiled(a)
    torch.testing.assert_close(compiled(a), torch.tanh(a) * 2)
    dynamo.reset()  # a user's reset must not make what is known wrong
    number = 0.77

    def step(x, h):
        h = torch.tanh(h * number + x.sum(1, keepdim=True))
        return h, h

    xs, state = arguments()
    scan_quietly(step, xs, state)
    dynamo.reset()
    number = 0.33
    assert_same(list(scan_quietly(step, xs, state)), list(unrolled.scan(step, xs, state, engine="eager")))


def test_a_capture_does_not_time_its_guards(monkeypatch):
    """Torch does for each graph, and flushes the processor's caches first; it goes on to do so for a user's own."""
    timed = lambda *_: timings.append(0.0) or 0.0
    timings = []
    monkeypatch.setattr(guards, "profile_guard_manager", timed)
    assert unrolled.explain(a_step(0.78), torch.zeros(3, 2, 3), torch.zeros(2, HIDDEN)).path == "fused"
    assert timings == []
    torch.compile(lambda a: torch.tanh(a) * 3, backend="eager")(torch.randn(3))
    assert timings == [0.0]


DRAWING = """
import json, random, sys, warnings
import numpy as np, torch
from torch import nn
import unrolled
warnings.simplefilter("ignore")
torch.manual_seed(1); random.seed(1); np.random.seed(1)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.drop = unrolled.cells.GRU(3, 4), nn.Dropout(0.5)
    def forward(self, x, h):
        y, h = self.cell(self.drop(x), h)
        return self.drop(y) + 0.1 * torch.rand_like(h), h

net = Net()
xs = torch.randn(5, 2, 3)
said = []
for _ in range(2):
    ys, h = unrolled.scan(net, xs, torch.zeros(2, 4))
    ys.sum().backward()
    said.append([ys.sum().item().hex(), sum(p.grad.sum() for p in net.parameters()).item().hex()])
said.append([torch.rand(1).item().hex(), random.random(), np.random.rand()])
print(json.dumps(said))
"""


@pytest.mark.slow
def test_one_seed_gives_the_same_numbers_with_a_cold_and_a_warm_cache(tmp_path):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    said = []
    for _ in range(3):
        child = subprocess.run(
            [sys.executable, "-c", DRAWING], capture_output=True, text=True, env=environment, check=True, cwd=ROOT
        )
        assert child.stderr == ""
        said.append(json.loads(child.stdout))
    assert said[0] == said[1] == said[2]


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_mark_of_the_users_stays_and_none_is_added(is_refused):
    """Torch marks parameters whose address stays; a capture, whether it ends in a graph or not, changes no mark."""
    marked, plain = (nn.Parameter(torch.zeros(HIDDEN, HIDDEN)) for _ in range(2))
    torch._dynamo.mark_static_address(marked)

    def step(x, h):
        h = torch.tanh(h @ marked @ plain + x.sum(1, keepdim=True))
        return h, h * float(h.sum()) if is_refused else h

    assert unrolled.explain(step, torch.zeros(3, 2, 3), torch.zeros(2, HIDDEN)).path == (
        "eager" if is_refused else "fused"
    )
    assert vars(marked) == {"_dynamo_static_input_type": "unguarded"}
    assert vars(plain) == {}


@pytest.mark.parametrize("reads", ["weights", "a buffer", "a captured tensor"])
def test_what_a_step_reads_may_be_swapped(reads):
    """As `module.to` does, where torch is told to: it swaps no tensor that something refers to weakly."""
    captured = torch.full((HIDDEN,), 0.5, dtype=torch.float64)

    def inside(self, y):
        return {"weights": y, "a buffer": y * self.offset, "a captured tensor": y * captured}[reads]

    step = Model(inside)
    step.register_buffer("offset", torch.full((HIDDEN,), 0.75, dtype=torch.float64))
    xs, h = (torch.ones(*shape, dtype=torch.float64) for shape in ((3, 2, INPUT), (2, HIDDEN)))

    def assert_right():  # what it gives holds the tensors until it ends, as a loop's results do
        ours, theirs = (scan_quietly(step, xs, h, engine=engine)[0] for engine in ("auto", "eager"))
        torch.testing.assert_close(ours, theirs)

    for scale in (1, 2):
        assert_right()
        assert_right()
        for tensor in (step.linear.weight, step.linear.bias, step.offset, captured):
            other = tensor.detach() * (0.5 / scale)
            is_parameter = isinstance(tensor, nn.Parameter)
            torch.utils.swap_tensors(tensor, nn.Parameter(other) if is_parameter else other)
