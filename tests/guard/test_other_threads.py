"""A capture changes functions of torch's while it lasts, for its own thread alone: others may be within torch.compile."""

import threading

import pytest
import torch
from tests.plans import forget_plans
from torch._subclasses.meta_utils import MetaTensorDescriber

import unrolled
from unrolled.engine.step import capture
from unrolled.engine.step.undisturbed import _without_references, patched_here


class Made:
    """What a function makes, whose method has a default: torch reads it where a capture has put it."""

    def __init__(self, value):
        self.value = value

    def times(self, numbers=(3.0,)):
        return self.value * numbers[0]


def helped(x, numbers=(2.0,)):
    return x * numbers[0]


def makes(x):
    return helped(x) + Made(x).times()


def counts(x):
    for _ in range(30):
        x = x + 1
    return x


@pytest.mark.parametrize("function", [makes, counts])
def test_torch_compile_in_another_thread_is_left_alone(function, monkeypatch):
    torch._dynamo.reset()
    forget_plans()
    begun, ended, right = threading.Event(), threading.Event(), capture.convert_frame.fullgraph_capture

    def slow(*given):
        begun.set()
        assert ended.wait(60)
        return right(*given)

    monkeypatch.setattr(capture.convert_frame, "fullgraph_capture", slow)
    found = []
    step = lambda x, h: (h, torch.tanh(h + x))
    thread = threading.Thread(
        target=lambda: found.append(unrolled.explain(step, torch.zeros(2, 3, 4), torch.zeros(3, 4)))
    )
    thread.start()
    assert begun.wait(60)
    exact = function(torch.ones(3))
    monkeypatch.setattr("unrolled.engine.step.path.MOST_OPERATIONS", 20)
    try:
        torch.testing.assert_close(torch.compile(function, backend="eager", fullgraph=True)(torch.ones(3)), exact)
    finally:
        ended.set()
        thread.join()
    assert [each.path for each in found] == ["fused"], found[0].reason


def test_a_function_is_another_one_in_its_thread():
    class Owner:
        def method(self, number):
            return number

    found = []
    with patched_here(Owner, "method", lambda _, number: -number):
        thread = threading.Thread(target=lambda: found.append(Owner().method(number=2)))
        thread.start()
        thread.join()
        found.append(Owner().method(2))
    found.append(Owner().method(2))
    assert found == [2, -2, 2]


def test_what_another_thread_compiles_keeps_its_references():
    made, tensor = [], torch.zeros(3)

    def describe():
        describer = MetaTensorDescriber()
        describer.describe_tensor(tensor)
        made.append(describer)

    with _without_references():
        describe()
        thread = threading.Thread(target=describe)
        thread.start()
        thread.join()
    assert [len(each.lookup_tensor) for each in made] == [0, 1]
