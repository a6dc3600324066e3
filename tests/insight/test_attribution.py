"""Attribution: values that add up to the output, through the compiled loop, in evaluation mode."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import unrolled
from unrolled.errors import ArgumentError, SettingsError, ShapeError
from unrolled.insight.attribution import integrated


class Reader(nn.Module):
    """Reads numbers or tokens; three scores of each row."""

    def __init__(self, kind="GRU", scale=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(10, 3)
        self.recurrent = getattr(unrolled, kind)(3, 8, bidirectional=True)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(16, 3)
        with torch.no_grad():
            for weight in self.recurrent.parameters():
                weight.mul_(scale)

    def forward(self, xs, lengths=None):
        if isinstance(xs, torch.Tensor) and not xs.is_floating_point():
            xs = self.words(xs)
        if lengths is not None:
            xs = pack_padded_sequence(xs, lengths)
        read = self.recurrent(xs)[0]
        read = read if isinstance(read, torch.Tensor) else pad_packed_sequence(read)[0]
        return self.out(self.drop(read).sum(0).tanh()), read


def difference(model, xs, target):
    model.eval()
    with torch.no_grad():
        return model(xs)[0][:, target] - model(torch.zeros_like(xs))[0][:, target]


@pytest.mark.parametrize(("kind", "scale"), [("RNN", 4.0), ("LSTM", 1.0), ("GRU", 4.0)])
def test_integrated_gradients_add_up_row_by_row(kind, scale):
    model, xs = Reader(kind, scale), torch.randn(12, 4, 3)
    found = unrolled.attribute(model, xs, target=2)
    assert model.training
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    assert found.is_complete
    assert found.completeness <= 0.01
    assert found.values.shape == xs.shape
    wanted = difference(model, xs, 2)
    assert (found.values.sum((0, 2)) - wanted).abs().max() <= 0.0101 * wanted.abs().max()
    assert found.output - found.at_baseline == pytest.approx(wanted.sum().item(), abs=1e-5)


def test_of_what_is_linear_both_methods_are_exact():
    model, xs = nn.Linear(3, 1), torch.randn(5, 2, 3)
    wanted = xs * model.weight.detach()[0]
    for method in ("integrated_gradients", "input_x_gradient"):
        found = unrolled.attribute(model, xs, target=0, method=method)
        torch.testing.assert_close(found.values, wanted)
        assert found.completeness < 1e-6
    moved = unrolled.attribute(model, xs, target=0, baseline=1.0)
    torch.testing.assert_close(moved.values, (xs - 1) * model.weight.detach()[0])


def test_the_fused_loop_gives_what_torchs_own_layer_does():
    model, xs = Reader("LSTM"), torch.randn(12, 4, 3)
    found = unrolled.attribute(model, xs, target=1, steps=32)
    unrolled.unswap(model)
    torch.testing.assert_close(found.values, unrolled.attribute(model, xs, target=1, steps=32).values)


def test_tokens_packed_rows_and_named_modules():
    model, tokens = Reader(), torch.randint(10, (7, 3))
    of_tokens = unrolled.attribute(model, tokens, target=0)
    assert of_tokens.values.shape == (7, 3)
    assert of_tokens.is_complete
    at = unrolled.attribute(model, tokens, target=0, at=model.recurrent)
    torch.testing.assert_close(at.values.sum(2), of_tokens.values)
    xs, lengths = torch.randn(7, 3, 3), torch.tensor([7, 4, 2])
    packed = unrolled.attribute(model, pack_padded_sequence(xs, lengths), target=0)
    padded = unrolled.attribute(model, (xs, lengths), target=0)
    torch.testing.assert_close(packed.values, padded.values, rtol=1e-3, atol=1e-5)
    assert packed.values[4:, 1].abs().max() == 0
    assert packed.values[:4, 1].abs().min() > 0


def test_targets():
    model, xs = Reader(), torch.randn(6, 2, 3)
    by_index = unrolled.attribute(model, xs, target=1)
    by_tuple = unrolled.attribute(model, xs, target=(slice(None), 1))
    by_function = unrolled.attribute(model, xs, target=lambda out: out[0][:, 1])
    torch.testing.assert_close(by_index.values, by_tuple.values)
    torch.testing.assert_close(by_index.values, by_function.values)
    first = unrolled.attribute(model, xs, target=lambda out: out[1][0, :, 0])  # the first step's forward half
    assert first.values[1:].abs().max() == 0


def test_steps_are_added_until_it_adds_up_and_what_does_not_says_so():
    steep = lambda points: torch.sigmoid(200 * (points[0] - 0.37)).sum().unsqueeze(0)
    _, found = integrated(steep, [torch.ones(1, 1)])
    assert 16 < found.steps <= 512
    assert found.completeness <= 0.01
    _, few = integrated(steep, [torch.ones(1, 1)], None, "integrated_gradients", 4)
    assert few.steps == 4
    assert few.completeness > 0.01
    assert "; the values miss " in repr(few)
    _, never = integrated(lambda points: (points[0] > 0.5).float().sum() + 0 * points[0].sum(), [torch.ones(1, 1)])
    assert never.steps == 512
    assert not never.is_complete
    _, nothing = integrated(lambda points: 0 * points[0].sum(), [torch.ones(1, 1)])
    assert nothing.completeness == 0


def test_frame_and_picture():
    found = unrolled.attribute(Reader(), torch.randn(6, 2, 3), target=1)
    frame = found.to_frame()
    assert list(frame.columns) == ["step", "row", "feature", "value"]
    assert frame.value.sum() == pytest.approx(found.values.sum().item(), rel=1e-4)
    last = frame[(frame.step == 5) & (frame.row == 1) & (frame.feature == 2)]
    assert last.value.item() == pytest.approx(found.values[5, 1, 2].item())
    assert found.plot(row=1).axes[0].get_xlabel() == "time step"
    with pytest.raises(SettingsError) as fault:
        found.plot(row=2)
    assert str(fault.value) == "attribution.plot: row=2. Expected 0 to 1."


XS = torch.randn(6, 2, 3)
FAULTS = [
    ((lambda x: x, XS), {}, ArgumentError, "attribute: a model of type function. Expected a torch.nn.Module."),
    ((Reader(), XS), {"method": "lime", "target": 0}, SettingsError,
     "attribute: method='lime' is not known. Expected one of integrated_gradients, input_x_gradient."),
    ((Reader(), XS), {"steps": 0, "target": 0}, SettingsError,
     "attribute: steps=0. Expected a whole number of at least 1."),
    ((Reader(), "abc"), {}, ArgumentError,
     "attribute: the first argument is of type str. Expected a tensor or packed rows."),
    ((Reader(), XS), {}, ShapeError,
     "attribute: the output is [2, 3], several numbers a row. Say which with `target`, such as target=0 for the first of "
     "the last axis."),
    ((Reader(), XS), {"target": 3}, ShapeError, "attribute: target=3 is no part of the output [2, 3]."),
    ((Reader(), XS), {"target": 0, "baseline": torch.zeros(5)}, ShapeError,
     "attribute: a baseline of shape [5]; the input is [6, 2, 3]. Expected a number, or a tensor that expands to it."),
    ((Reader(), XS), {"target": 0, "at": nn.Linear(1, 1)}, ArgumentError,
     "attribute: none of the modules of `at` is called by the model."),
    ((nn.Embedding(3, 2), torch.zeros(3, 2, dtype=torch.long)), {"target": 0}, ArgumentError,
     "attribute: the input is of integers, which have no gradient, and the model has no recurrent layer. Name the module "
     "whose input is explained with `at`."),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "options", "kind", "text"), FAULTS)
def test_faults(arguments, options, kind, text):
    with pytest.raises(kind) as fault:
        unrolled.attribute(*arguments, **options)
    assert str(fault.value) == text


def test_captums_methods_take_our_layers_as_they_are():
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    model, xs = Reader().eval(), torch.randn(6, 2, 3)
    batch_first = lambda inputs: model(inputs.transpose(0, 1))[0]
    found = unrolled.attribute(model, xs, target=1, steps=32).values.transpose(0, 1)
    theirs = captum.IntegratedGradients(batch_first).attribute(
        xs.transpose(0, 1).contiguous(), target=1, n_steps=32, method="gausslegendre"
    )
    torch.testing.assert_close(found, theirs.float(), rtol=1e-4, atol=1e-6)
    simple = unrolled.attribute(model, xs, target=1, method="input_x_gradient").values.transpose(0, 1)
    theirs = captum.InputXGradient(batch_first).attribute(xs.transpose(0, 1).contiguous().requires_grad_(), target=1)
    torch.testing.assert_close(simple, theirs)
    for method in (captum.Saliency, captum.FeatureAblation, captum.Occlusion):
        options = {"sliding_window_shapes": (1, 3)} if method is captum.Occlusion else {}
        values = method(batch_first).attribute(xs.transpose(0, 1).contiguous().requires_grad_(), target=1, **options)
        assert values.shape == (2, 6, 3)
        assert math.isfinite(values.abs().sum().item())
    layer = captum.LayerIntegratedGradients(lambda tokens: model(tokens.t())[0], model.words)
    assert layer.attribute(torch.randint(10, (2, 6)), target=1).shape == (6, 2, 3)
