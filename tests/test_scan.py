"""What a scan means: the loop over time, with rows that end, rows that start anew, and time turned around."""

import gc
import re
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils import _pytree as pytree

import unrolled
from tests import strategies
from tests.assertions import assert_equal, values_and_gradients


def loop(step, xs, state, order=None):
    """The definition, by hand."""
    n_steps = pytree.tree_leaves(xs)[0].shape[0]
    outputs = [None] * n_steps
    for t in order if order is not None else range(n_steps):
        outputs[t], state = step(pytree.tree_map(lambda leaf, t=t: leaf[t], xs), state)
    return pytree.tree_map(lambda *leaves: torch.stack(leaves), *outputs), state


def by_row(tree, row):
    """One row of a state tree."""
    return pytree.tree_map(lambda leaf: leaf[row : row + 1], tree)


class Tree(torch.nn.Module):
    """A step over trees: dict inputs of two kinds, nested state, tree of outputs."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(6, 4, dtype=torch.float64)
        self.mix = torch.nn.Linear(4, 4, dtype=torch.float64)

    def forward(self, x, state):
        (a, [b]), count = state["pair"], state["count"]
        new = torch.tanh(self.mix(a) + self.table(x["word"]) * x["weight"].unsqueeze(-1))
        return {"new": new, "both": (a + b,)}, {"pair": (new, [a]), "count": count + 1}


@given(strategies.cell_names, st.sampled_from([1, 2, 7]), strategies.n_rows, strategies.seeds, st.booleans())
def test_is_the_loop_with_all_gradients(name, steps, batch, seed, reverse):
    cell = strategies.make_cell(name, seed)
    inputs = (strategies.make_inputs(steps, batch, seed), strategies.make_state(cell, batch, seed))
    order = list(reversed(range(steps))) if reverse else None
    parameters = list(cell.parameters())
    ours = values_and_gradients(lambda args: unrolled.scan(cell, *args, reverse=reverse), inputs, parameters)
    theirs = values_and_gradients(lambda args: loop(cell, *args, order), inputs, parameters)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_trees_of_inputs_states_and_outputs():
    step = Tree()
    xs = {"word": torch.randint(0, 6, (5, 2)), "weight": torch.rand(5, 2, dtype=torch.float64)}
    state = {
        "pair": (torch.rand(2, 4, dtype=torch.float64), [torch.rand(2, 4, dtype=torch.float64)]),
        "count": torch.zeros(2, dtype=torch.int64),
    }
    with pytest.warns(unrolled.errors.NotFusedWarning, match="is not of floating-point numbers"):
        ys, last = unrolled.scan(step, xs, state)
    expected_ys, expected_last = loop(step, xs, state)
    assert_equal(ys, expected_ys)
    assert_equal(last, expected_last)
    assert last["count"].tolist() == [5, 5]


CELLS = [torch.nn.RNNCell, torch.nn.GRUCell, torch.nn.LSTMCell]


def of_cell(cell, xs, h, engine):
    is_lstm = isinstance(cell, torch.nn.LSTMCell)
    return unrolled.scan(cell, xs, (h, h) if is_lstm else h, engine=engine)


@pytest.mark.parametrize("kind", CELLS)
def test_takes_torch_cells_as_they_are(kind):
    cell, layer = kind(3, 5), getattr(torch.nn, kind.__name__.removesuffix("Cell"))(3, 5)
    layer.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    xs = torch.randn(6, 2, 3)
    ys, last = of_cell(cell, xs, torch.zeros(2, 5), "auto")
    expected_ys, expected_last = layer(xs)
    torch.testing.assert_close(ys, expected_ys)
    torch.testing.assert_close(last, pytree.tree_map(lambda leaf: leaf[0], expected_last))


def test_a_torch_cell_keeps_a_list_as_its_state():
    _, last = unrolled.scan(torch.nn.LSTMCell(3, 5), torch.randn(2, 1, 3), [torch.zeros(1, 5), torch.zeros(1, 5)])
    assert isinstance(last, list)


@given(strategies.cell_names, strategies.n_steps, strategies.n_steps, strategies.n_rows, strategies.seeds)
def test_a_cut_sequence_is_the_whole(name, first, second, batch, seed):
    cell = strategies.make_cell(name, seed)
    xs, state = strategies.make_inputs(first + second, batch, seed), strategies.make_state(cell, batch, seed)
    whole_ys, whole_last = unrolled.scan(cell, xs, state)
    first_ys, middle = unrolled.scan(cell, xs[:first], state)
    second_ys, last = unrolled.scan(cell, xs[first:], middle)
    torch.testing.assert_close(torch.cat((first_ys, second_ys)), whole_ys, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last, whole_last, rtol=1e-12, atol=1e-12)


@given(strategies.cell_names, strategies.seeds, st.booleans(), st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_lengths_are_cut_sequences(name, seed, reverse, lengths):
    cell = strategies.make_cell(name, seed)
    xs, state = strategies.make_inputs(6, len(lengths), seed), strategies.make_state(cell, len(lengths), seed)
    ys, last = unrolled.scan(cell, xs, state, lengths=torch.tensor(lengths), reverse=reverse)
    for row, length in enumerate(lengths):
        row_ys, row_last = unrolled.scan(cell, xs[:length, row : row + 1], by_row(state, row), reverse=reverse)
        torch.testing.assert_close(ys[:length, row : row + 1], row_ys, rtol=1e-12, atol=1e-12)
        assert not ys[length:, row].any()
        torch.testing.assert_close(by_row(last, row), row_last, rtol=1e-12, atol=1e-12)


@given(strategies.cell_names, strategies.seeds, st.booleans())
def test_padding_changes_nothing_not_even_nan(name, seed, reverse):
    cell, lengths = strategies.make_cell(name, seed), torch.tensor([2, 5, 0])
    xs, state = strategies.make_inputs(5, 3, seed), strategies.make_state(cell, 3, seed)
    padded = xs.clone()
    for row, length in enumerate(lengths):
        padded[length:, row] = float("nan")
    longer = torch.cat((padded, torch.full_like(xs[:3], float("inf"))))

    def run(args):
        ys, last = unrolled.scan(cell, args[0], args[1], lengths=lengths, reverse=reverse)
        return ys[:5], last

    plain = values_and_gradients(run, (xs, state), list(cell.parameters()))
    nan = values_and_gradients(run, (padded, state), list(cell.parameters()))
    inf = values_and_gradients(run, (longer, state), list(cell.parameters()))
    inf = [value[:5] if value.shape == longer.shape else value for value in inf]
    torch.testing.assert_close(nan, plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(inf, plain, rtol=1e-12, atol=1e-12)


@given(strategies.cell_names, strategies.seeds, st.booleans(), st.data())
def test_a_reset_starts_the_row_anew(name, seed, reverse, data):
    cell = strategies.make_cell(name, seed)
    xs, state = strategies.make_inputs(6, 2, seed), strategies.make_state(cell, 2, seed)
    resets = torch.tensor(data.draw(st.lists(st.booleans(), min_size=12, max_size=12))).view(6, 2)
    ys, last = unrolled.scan(cell, xs, state, resets=resets, reverse=reverse)
    for row in range(2):
        current, order = by_row(state, row), reversed(range(6)) if reverse else range(6)
        for t in order:
            if resets[t, row]:
                current = by_row(state, row)
            y, current = cell(xs[t, row : row + 1], current)
            torch.testing.assert_close(ys[t, row : row + 1], y, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(by_row(last, row), current, rtol=1e-12, atol=1e-12)


@given(strategies.cell_names, strategies.seeds, st.permutations(range(5)))
def test_the_order_of_rows_is_of_no_effect(name, seed, order):
    cell = strategies.make_cell(name, seed)
    xs, state = strategies.make_inputs(4, 5, seed), strategies.make_state(cell, 5, seed)
    ys, last = unrolled.scan(cell, xs, state)
    turned_ys, turned_last = unrolled.scan(cell, xs[:, order], pytree.tree_map(lambda leaf: leaf[order], state))
    torch.testing.assert_close(turned_ys, ys[:, order], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(turned_last, pytree.tree_map(lambda leaf: leaf[order], last), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(strategies.CELLS))
def test_strided_inputs_and_repeated_runs_give_the_same_bits(name):
    cell = strategies.make_cell(name, 1, torch.float32)
    xs, state = strategies.make_inputs(6, 4, 2, torch.float32), strategies.make_state(cell, 4, 3, torch.float32)
    first = unrolled.scan(cell, xs, state)
    strided = xs.transpose(0, 2).contiguous().transpose(0, 2)
    for _ in range(10):
        assert_equal(unrolled.scan(cell, strided, state), first)


class Scan(torch.nn.Module):
    """A model that scans."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, xs, state, **options):
        return unrolled.scan(self.cell, xs, state, **options)


@pytest.mark.parametrize("name", sorted(strategies.CELLS))
@pytest.mark.parametrize("with_options", [False, True])
def test_gradients_of_first_and_second_order(name, with_options):
    cell = strategies.make_cell(name, 4)
    if "relu" in name:
        cell.activation = torch.nn.functional.softplus  # relu has no derivative at its kink
    xs, state = strategies.make_inputs(3, 2, 5), strategies.make_state(cell, 2, 6)
    extra = {"lengths": torch.tensor([3, 1]), "resets": torch.tensor([[0, 0], [0, 0], [1, 0]]).bool()}
    leaves, spec = pytree.tree_flatten((xs, state, dict(cell.named_parameters())))
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]

    def run(*leaves):
        xs, state, parameters = pytree.tree_unflatten(leaves, spec)
        options = {"engine": "fused", **(extra if with_options else {})}
        given = {f"cell.{key}": value for key, value in parameters.items()}
        return tuple(pytree.tree_leaves(torch.func.functional_call(Scan(cell), given, (xs, state), options)))

    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)


def test_functional_transforms_pass_through():
    cell = strategies.make_cell("gru", 1)
    xs, state = strategies.make_inputs(4, 3, 2), strategies.make_state(cell, 3, 3)
    parameters = dict(cell.named_parameters())

    def loss(parameters, xs, state):
        step = lambda x, s: torch.func.functional_call(cell, parameters, (x, s))
        return unrolled.scan(step, xs, state)[0].square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 1, 0))(parameters, xs.unsqueeze(2), state.unsqueeze(1))
    total = torch.func.grad(loss)(parameters, xs, state)
    for name, value in total.items():
        torch.testing.assert_close(each[name].sum(0), value)
    _, tangent = torch.func.jvp(lambda xs: loss(parameters, xs, state), (xs,), (torch.ones_like(xs),))
    torch.testing.assert_close(tangent, torch.func.grad(loss, argnums=1)(parameters, xs, state).sum())


def test_no_steps_give_empty_outputs_and_the_state_as_it_was():
    cell = strategies.make_cell("lstm", 1)
    state, before = strategies.make_state(cell, 2, 1), torch.get_rng_state()
    ys, last = unrolled.scan(cell, torch.zeros(0, 2, 3, dtype=torch.float64), state)
    assert ys.shape == (0, 2, 5)
    assert_equal(last, state)
    assert torch.equal(torch.get_rng_state(), before)


HIDDEN = torch.zeros(32, 128)
XS = torch.zeros(4, 32, 3)


@pytest.mark.parametrize(
    ("step", "xs", "state", "options", "kind", "text"),
    [
        (
            lambda x, h: (h, h[:, :64]), XS, HIDDEN, {}, unrolled.errors.StepError,
            "scan: step returned a state of shape [32, 64]; it was given [32, 128]. "
            "A step must return a state of the shape it got.",
        ),
        (
            lambda x, h: (h, h.double()), XS, HIDDEN, {}, unrolled.errors.StepError,
            "scan: step returned a state of dtype torch.float64; it was given torch.float32. "
            "A step must return a state of the dtype it got.",
        ),
        (
            lambda x, h: (h, (h, h)), XS, HIDDEN, {}, unrolled.errors.StepError,
            "scan: step returned a state of structure (tensor, tensor); it was given tensor. "
            "A step must return a state of the structure it got.",
        ),
        (
            lambda x, h: h, XS, HIDDEN, {}, unrolled.errors.StepError,
            "scan: step returned a value of type Tensor; a step must return a pair (y_t, state). "
            "If the output is the state itself, return (h, h).",
        ),
        (
            lambda x, h: (1.0, h), XS, HIDDEN, {}, unrolled.errors.StepError,
            "scan: step returned a value of type float within its output; outputs must be tensors.",
        ),
        (
            lambda x, h: (h, h), (), HIDDEN, {}, unrolled.errors.ShapeError,
            "scan: xs holds no tensor; it must tell the number of time steps.",
        ),
        (
            lambda x, h: (h, h), XS, 1.0, {}, unrolled.errors.ShapeError,
            "scan: state holds a value of type float; expected tensors, alone or in nested tuples, lists and dicts.",
        ),
        (
            lambda x, h: (h, h), torch.zeros(()), HIDDEN, {}, unrolled.errors.ShapeError,
            "scan: xs holds a tensor without axes; expected the time axis first, [time, batch, ...].",
        ),
        (
            lambda x, h: (h, h), (XS, XS[:2]), HIDDEN, {}, unrolled.errors.ShapeError,
            "scan: the tensors of xs have 4 and 2 time steps; all must have the same number, on their first axis.",
        ),
        (
            lambda x, h: (h, h), XS, HIDDEN, {"lengths": torch.ones(31).long()}, unrolled.errors.ShapeError,
            "scan: lengths has shape [31]; expected [32], one length a row.",
        ),
        (
            lambda x, h: (h, h), XS, HIDDEN, {"lengths": torch.full((32,), 5)}, unrolled.errors.ShapeError,
            "scan: lengths holds 5 to 5; expected 0 to 4, the number of time steps.",
        ),
        (
            lambda x, h: (h, h), XS, HIDDEN, {"lengths": torch.ones(32)}, unrolled.errors.ShapeError,
            "scan: lengths has dtype torch.float32; expected integers.",
        ),
        (
            lambda x, h: (h, h), XS, HIDDEN[:31], {"lengths": torch.ones(32).long()}, unrolled.errors.ShapeError,
            "scan: state holds a tensor of shape [31, 128], whose batch axis is 31; the batch is 32.",
        ),
        (
            lambda x, h: (h, h), XS[:, 0, 0], HIDDEN, {"lengths": torch.ones(32).long()}, unrolled.errors.ShapeError,
            "scan: lengths and resets act on rows of the batch, but xs holds a tensor of shape [4]; "
            "expected [time, batch, ...].",
        ),
        (
            lambda x, h: (h, h), XS, HIDDEN, {"resets": torch.zeros(4, 32)}, unrolled.errors.ShapeError,
            "scan: resets has dtype torch.float32; expected a bool tensor.",
        ),
        (
            lambda x, h: (h, h), XS, HIDDEN, {"resets": torch.zeros(32, 4).bool()}, unrolled.errors.ShapeError,
            "scan: resets has shape [32, 4]; expected [4, 32], [time, batch].",
        ),
        (
            lambda x, h: (h, h), XS, HIDDEN, {"engine": "fast"}, unrolled.errors.ShapeError,
            "scan: engine='fast' is not known. Expected one of 'auto', 'fused', 'eager'.",
        ),
    ],
)  # fmt: skip
def test_faults_are_told_word_for_word(step, xs, state, options, kind, text):
    with pytest.raises(kind, match=f"^{re.escape(text)}$"):
        unrolled.scan(step, xs, state, **options)


def test_what_prevents_a_fused_loop_is_told_with_its_line():
    def step(x, h):
        h = torch.tanh(h + x[:, :1])
        return h, h.sort(1)[0]

    text = (
        "scan: the step cannot run fused: aten.sort is not among the operations that a fused loop can hold "
        f'("{__file__}", line {step.__code__.co_firstlineno + 2}: return h, h.sort(1)[0]).'
    )
    with pytest.raises(unrolled.errors.NotFusedError, match=f"^{re.escape(text)}$"):
        unrolled.scan(step, XS, HIDDEN, engine="fused")


def test_an_output_that_changes_its_structure_is_told():
    calls = []

    def step(x, h):
        calls.append(1)
        return (h if len(calls) == 1 else (h, h)), h

    with pytest.raises(unrolled.errors.StepError, match="A step must return outputs of one structure at every step"):
        unrolled.scan(step, XS, HIDDEN, engine="eager")


@pytest.mark.parametrize("kind", CELLS)
def test_what_changes_in_a_cell_of_torch_is_seen(kind):
    torch.manual_seed(0)
    cell, xs, h = kind(3, 5), torch.randn(4, 2, 3), torch.randn(2, 5)

    def check():
        fused, eager = (of_cell(cell, xs, h, engine) for engine in ("fused", "eager"))
        torch.testing.assert_close(fused, eager)
        return fused[0]

    first = check()
    assert torch.equal(check(), first)
    with torch.no_grad():
        cell.weight_hh *= 0.5  # its numbers
    second = check()
    assert not torch.equal(second, first)
    cell.bias_ih = torch.nn.Parameter(torch.ones_like(cell.bias_ih))  # a parameter exchanged
    third = check()
    assert not torch.equal(third, second)
    torch.nn.utils.parametrizations.orthogonal(cell, "weight_hh")  # its class exchanged
    fourth = of_cell(cell, xs, h, "auto")
    torch.testing.assert_close(fourth, of_cell(cell, xs, h, "eager"))
    assert not torch.equal(fourth[0], third)


@pytest.mark.parametrize("kind", CELLS)
def test_hooks_of_a_cell_of_torch_are_given_the_cell(kind):
    cell, met = kind(3, 5), []
    of_cell(cell, torch.randn(4, 2, 3), torch.randn(2, 5), "auto")
    cell.register_forward_hook(lambda module, *_: met.append(module))
    of_cell(cell, torch.randn(4, 2, 3), torch.randn(2, 5), "eager")
    assert len(met) == 4
    assert all(module is cell for module in met)


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_of_torch_is_not_kept(kind):
    cell = kind(3, 5)
    for _ in range(3):
        of_cell(cell, torch.randn(4, 2, 3), torch.randn(2, 5), "fused")
    gone = weakref.ref(cell)
    del cell
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("engine", ["eager", "fused"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_subclass_of_torchs_cells_may_be_a_step_itself(cell, engine):
    class Step(cell):
        def forward(self, x, state):
            state = super().forward(x, state)
            return 2 * (state[0] if isinstance(state, tuple) else state), state

    step, xs, h = Step(3, 5), torch.randn(4, 2, 3), torch.zeros(2, 5)
    state = (h, h) if cell is torch.nn.LSTMCell else h
    ys, last = unrolled.scan(step, xs, state, engine=engine)
    for x, y in zip(xs, ys, strict=True):
        expected, state = step(x, state)
        torch.testing.assert_close(y, expected)
    torch.testing.assert_close(last, state)
