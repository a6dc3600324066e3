"""Steps whose globals are not those of the module of their name, and imports within a step."""

import sys
import types

import pytest
import torch

import unrolled

OF_MODULE = """
import torch
RATE = {rate}
NUMBERS = torch.full((4,), {rate})
def helper(x):
    return x * RATE + NUMBERS
def step(x, h):
    h = torch.tanh(helper(x) + h)
    return h, h
"""
NAME = "tests_guard_scopes"
XS, STATE = torch.ones(3, 2, 4), torch.zeros(2, 4)


@pytest.fixture
def module():
    """Makes a module of a name that another one may have."""

    def make(rate, *, is_registered=True, source=OF_MODULE, name=NAME):
        made = types.ModuleType(name)
        if is_registered:
            sys.modules[name] = made
        exec(source.format(rate=rate), vars(made))
        return made

    yield make
    for name in [name for name in sys.modules if name.startswith(NAME)]:
        del sys.modules[name]


def assert_fused_is_eager(step):
    fused, eager = (unrolled.scan(step, XS, STATE, engine=engine)[0] for engine in ("fused", "eager"))
    torch.testing.assert_close(fused, eager)


def test_two_modules_of_one_name(module):
    first = module(0.5)
    assert_fused_is_eager(first.step)
    second = module(0.25)
    for each in (second, first, second):
        assert_fused_is_eager(each.step)
    first.RATE = 0.75
    second.NUMBERS = torch.full((4,), 2.0)
    assert_fused_is_eager(first.step)
    assert_fused_is_eager(second.step)
    del sys.modules[NAME]
    assert_fused_is_eager(second.step)


def test_globals_of_no_module(module):
    made = module(0.5, is_registered=False)
    assert_fused_is_eager(made.step)
    made.RATE = 0.75
    assert_fused_is_eager(made.step)
    made.NUMBERS = torch.full((4,), 2.0)
    assert_fused_is_eager(made.step)
    made.helper = lambda x: x * made.RATE
    assert_fused_is_eager(made.step)
    made.abs = torch.sign
    made.helper = eval("lambda x: abs(x)", vars(made))
    assert_fused_is_eager(made.step)
    del made.abs
    assert_fused_is_eager(made.step)


def imports(x, h):
    import tests_guard_scopes

    h = torch.tanh(x * tests_guard_scopes.RATE + h)
    return h, h


def test_an_import_within_the_step(module):
    for rate in (0.5, 0.25):
        made = module(rate)
        assert_fused_is_eager(imports)
        made.RATE = rate + 0.5
        assert_fused_is_eager(imports)


RELATIVE = """
import torch
def step(x, h):
    from .config import RATE
    h = torch.tanh(x * RATE + h)
    return h, h
"""


def test_a_relative_import_within_the_step(module):
    package = module(0, source="")
    package.__path__ = []
    steps = module(0, source=RELATIVE, name=f"{NAME}.steps")
    steps.__package__ = NAME
    for rate in (0.5, 0.25):
        module(rate, source="RATE = {rate}", name=f"{NAME}.config")
        assert_fused_is_eager(steps.step)
