"""A change between two calls is seen: the same result as the plain loop on the same object, whatever path is taken."""

import itertools
import random
import time
from types import FunctionType

import pytest
import torch
from tests.guard.changes import CHANGES, PLACES, USES, pairs, placed, plain_step, weights
from tests.guard.checks import (
    HIDDEN,
    INPUT,
    Case,
    are_equal,
    assert_as_eager,
    assert_change_is_seen,
    at_most,
    outcome,
    parameters_of,
    slow_but_for,
)
from tests.guard.texts import OBJECTS, TEXTS, WAYS
from torch import nn

import unrolled
from unrolled.engine.step.declared import declared

# what runs by default: steps whose compiled loops are the same, and those that never reach one
SAMPLE = [f"{place}-number" for place in PLACES][::3]
SAMPLE += """
    context_variable-tensor_to_number deque_-flag_in_a_tensor evaluated_text-method_of_tensor global_by_globals-string
    getattribute_method-flag_as_number chain_map-to_nan metaclass_attribute-matched closure_of_a_helper-parameter
    attribute_over_getattr_method-number_in_a_list dict_by_number-indices nested_dict-numpy_array
    default_of_getattr-list_of_a_tensor
    hook_on_a_parameter method_of_tensor_exchanged weights_tied buffer_loaded buffer_set_by_data parameter_exchanged
    parameter_filled submodule_exchanged buffer_filled content_of_a_file existence_of_a_file backward_hook
    autocast_asked_for a_cell_of_ours_has_a_forward_of_its_own captured_tensor_with_a_view_of_another
    number_of_threads call_of_the_class_exchanged rate_of_dropout global_deleted_that_raises forward_hook_removed
    inference_mode_asked_for parametrization_removed single_dispatch_registers step_is_an_object
    subclass_of_tensor_has_its_number_changed gradient_mode parameter_frozen temperature_on_the_instance
    setting_of_a_backend weight_norm_changed gradients_of_a_captured_tensor environment_variable_by_getenv
    gradient_mode_asked_for abstract_class_registers forward_of_a_cell_of_torch_exchanged special_method__call__
    state_of_pythons_generator special_method__contains__ attribute_of_a_tensor defaults_of_the_step module_reloaded
    missing_attribute_that_is_handled default_of_a_dataclass generic_alias ctypes_number weak_proxy
    code_of_a_function_of_torch_exchanged kwdefaults_of_a_helper
    override_on_a_subclass-zero_of_a_subclass override_on_an_instance-nan_of_a_subclass simple_namespace-zeros_in_a_set
    property_of_a_module-decimal_compared weak_key_dictionary-one_and_true_in_a_key_in_a_tuple
""".split()  # noqa: SIM905 - a list of names


def test_the_table_is_as_large_as_it_must_be():
    assert len(CHANGES) >= 250
    assert len(SAMPLE) >= 80


@pytest.mark.parametrize("name", slow_but_for(SAMPLE, CHANGES))
def test_a_change_is_seen(name, patch):
    assert_change_is_seen(CHANGES[name](patch))


FEW_TEXTS = """
    only_shown-str dict-formatted dict_in_a_list-repr function-method layer-mapped counter-percent ordered-keys
    default-format_method
""".split()  # noqa: SIM905 - a list of names


@pytest.mark.parametrize("name", slow_but_for(FEW_TEXTS, TEXTS))
def test_a_text_is_never_stale(name):
    what, how = name.split("-")
    make, change = OBJECTS[what]
    held, (w, u) = make(), weights()

    def step(x, h):
        h = torch.tanh((x @ w + 0.3 * (h @ u)) * (len(WAYS[how](held)) / 40))
        return h, h

    assert_change_is_seen(Case(step, lambda: change(held), lambda: [w, u], fuses=False))


#: a function that is found in a class is a method, and is called with one argument more
NO_CASES = {("deletion_down_to_the_class", use) for use, (value, *_) in USES.items() if isinstance(value, FunctionType)}
COMBINED = sorted({(place, use) for place in PLACES for use in USES} - set(pairs()) - NO_CASES)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "use"), random.Random(0).sample(COMBINED, 500))
def test_a_change_of_any_use_in_any_place_is_seen(place, use, patch):
    assert_change_is_seen(placed(place, use, patch))


@pytest.mark.parametrize(
    "name", slow_but_for(["closure-number"], ["closure-number", "dict_-number", "rate_changed", "buffer_filled"])
)
def test_a_change_and_back(name, patch):
    """A plan that was right once may be used again, and none other."""
    case = CHANGES[name](patch)
    first = assert_as_eager(case)
    case.change()
    assert not are_equal(first, assert_as_eager(case))
    again = CHANGES[name](patch)
    assert are_equal(first, assert_as_eager(again))
    assert not are_equal(first, assert_as_eager(case))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [float, int, torch.tensor], ids=["float", "integer", "buffer"])
def test_a_number_annealed_over_many_calls(kind):
    """It must neither be forgotten nor make a plan at each call for ever: after the first few, all are fast."""
    rates = [kind(1)]
    step, wanted = plain_step(lambda y: torch.tanh(y / rates[0]))
    case, results, times = Case(step, wanted=wanted), [], []
    with at_most(100):
        for i in range(1, 30):
            rates[0] = kind(i)
            began = time.perf_counter()
            results.append(assert_as_eager(case))
            times.append(time.perf_counter() - began)
    assert not any(are_equal(a, b) for a, b in itertools.pairwise(results))


def test_a_number_read_off_a_buffer_and_annealed(recwarn):
    """The temperature of a schedule, in a buffer: value and gradients follow it at each epoch."""
    temperature = torch.ones((), dtype=torch.float64)
    step, wanted = plain_step(lambda y: torch.softmax(y / temperature.item(), -1))
    case = Case(step, wanted=wanted)
    results = []
    for _ in range(3):
        results.append(assert_as_eager(case))
        temperature *= 0.5
    assert not are_equal(results[0], results[1])
    assert not are_equal(results[1], results[2])


@pytest.mark.slow
def test_steps_made_anew_each_time():
    """Closures of one function, each with other numbers: what is known of one says nothing of another."""

    def make(rate, act):
        w, u = weights()

        def step(x, h):
            h = act(x @ w + rate * (h @ u))
            return h, h

        return Case(step, wanted=lambda: [w, u])

    results = [assert_as_eager(make(r, a)) for r in (0.5, 0.25, 0.5) for a in (torch.tanh, torch.sigmoid)]
    assert are_equal(results[0], results[4])
    assert are_equal(results[1], results[5])
    assert not are_equal(results[0], results[1])
    assert not are_equal(results[0], results[2])


@pytest.mark.slow
def test_an_object_at_the_address_of_a_dead_one():
    """What is known of an object ends with it: the next one may get its address."""
    results = []
    for rate in (0.5, 0.25, 0.125, 0.0625):
        case = CHANGES["rate_changed"](None)
        case.step.rate = rate
        results.append(assert_as_eager(case))
        del case
    assert not any(are_equal(a, b) for a, b in itertools.pairwise(results))


def test_a_change_while_gradients_are_pending():
    """The backward belongs to the values of its forward, whatever is changed between the two."""
    rates = [0.5]
    step, wanted = plain_step(lambda y: torch.tanh(rates[0] * y))
    xs, state = Case(step).arguments()
    gradients = {}
    for engine in ("auto", "eager"):
        from unrolled import scan

        rates[0] = 0.5
        ys, _ = scan(step, xs, state, engine=engine)
        rates[0] = 0.25
        outcome(step, xs, state, wanted())
        gradients[engine] = torch.autograd.grad(ys.sum(), wanted())
    for ours, theirs in zip(gradients["auto"], gradients["eager"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


KNOWN_CELLS = [unrolled.cells.GRU, unrolled.cells.LSTM, nn.GRUCell, nn.LSTMCell, nn.RNNCell]
PARTS = [(kind, at) for kind in KNOWN_CELLS for at, _ in enumerate(kind(INPUT, HIDDEN).modules())]


@pytest.mark.parametrize(("kind", "at"), PARTS)
def test_another_class_of_a_known_cell_or_its_part_is_seen(kind, at):
    """Whose attributes are the same, but not what it makes of them."""
    step = kind(INPUT, HIDDEN).double()
    part = list(step.modules())[at]

    def attribute(self, name):
        found = nn.Module.__getattr__(self, name)
        return found * 2 if isinstance(found, nn.Parameter) else found

    def change():
        part.__class__ = type("Doubled", (type(part),), {"__getattr__": attribute})

    state = [(2, HIDDEN)] * 2 if "LSTM" in kind.__name__ else (2, HIDDEN)
    assert_change_is_seen(Case(step, change, wanted=parameters_of(step), state=tuple(state)))


OF_TENSORS = ["chunk", "unbind", "split", "__mul__", "__rsub__", "__add__", "__torch_function__"]


@pytest.mark.parametrize("owner", [torch.Tensor, nn.Parameter])
@pytest.mark.parametrize("name", OF_TENSORS)
def test_a_method_of_tensors_that_is_exchanged_is_seen_by_the_librarys_cells(name, owner, monkeypatch):
    right, cell = getattr(owner, name), unrolled.cells.GRU(INPUT, HIDDEN)
    assert declared(cell) is not None
    monkeypatch.setattr(owner, name, lambda *given, **options: right(*given, **options))
    assert declared(cell) is None
    monkeypatch.undo()
    monkeypatch.setattr(owner, "of_the_users", right, raising=False)
    assert declared(cell) is not None


def test_a_cell_whose_tensors_are_cut_otherwise_is_as_the_plain_loop(monkeypatch):
    step, right = unrolled.cells.GRU(INPUT, HIDDEN).double(), torch.Tensor.chunk
    halved = lambda tensor, *given, **options: [each * 0.5 for each in right(tensor, *given, **options)]
    assert_change_is_seen(Case(step, lambda: monkeypatch.setattr(torch.Tensor, "chunk", halved)))
