"""Every task with every cell that `--cell` offers beside torch's: it is trained, saved, loaded, and answers the same."""

import copy

import pytest
import torch
from tests.assertions import assert_equal
from tests.tasks import test_forecast, test_text, test_tokens, test_transcribe, test_translate
from torch.utils import _pytree as pytree

import unrolled
from unrolled import cells
from unrolled.errors import SettingsError
from unrolled.nn.named_layers import DROP_INS, LAYER_NAMES, initial_state, make_layers, start_orthogonal
from unrolled.tasks.text.scoring import _without_row_0
from unrolled.tasks.translate.net import NetSettings, TranslateNet

OTHERS = [name for name in LAYER_NAMES if name not in DROP_INS]
TOKENS = {
    name: (kind, settings.to_dict(), data, lambda model, text=text: model.predict(text))
    for name, (kind, settings, data, _, text) in test_tokens.CASES.items()
}
CASES = TOKENS | {
    "text": (
        unrolled.TextModel, test_text.SMALL.to_dict(), test_text.TEXT,
        lambda model: "".join(model.generate("The", length=20, seed=1)),
    ),
    "forecast": (
        unrolled.ForecastModel, {**test_forecast.SETTINGS, "decoder": "autoregressive"}, test_forecast.PAIR,
        lambda model: model.predict(test_forecast.PAIR),
    ),
    "translate": (
        unrolled.TranslateModel, test_translate.SMALL, test_translate.PAIRS, lambda model: model.predict("ein kater singt."),
    ),
    "transcribe": (
        unrolled.TranscribeModel, {**test_transcribe.SMALL, "direction": "forward"}, test_transcribe.PAIRS,
        lambda model: model.predict((test_transcribe.spoken("bab"), test_transcribe.RATE)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("task", CASES)
@pytest.mark.parametrize("cell", OTHERS)
def test_every_task_takes_every_cell(task, cell, tmp_path):
    kind, settings, data, answer = CASES[task]
    model = kind(type(kind().settings)(**{**settings, "cell": cell}))
    training = unrolled.TrainSettings(steps=4, precision="float32", patience=0)
    if task == "text":
        model.fit(text=data, train=training)
    else:
        model.fit(data, train=training)
    assert any(isinstance(module, unrolled.Recurrent) for module in model.net.modules())
    model.save(tmp_path / "model.safetensors")
    loaded = kind.load(tmp_path / "model.safetensors")
    assert_equal(dict(loaded.net.state_dict()), dict(model.net.state_dict()))
    assert str(answer(loaded)) == str(answer(model))


@pytest.mark.parametrize("cell", OTHERS)
def test_the_decoder_with_input_feeding_says_which_cells_it_takes(cell):
    text = (
        f"cell='{cell}': the decoder with input feeding takes lstm, gru, rnn alone; with this cell take --decoder deep"
    )
    with pytest.raises(SettingsError, match=f"^{text}$"):
        unrolled.TranslateSettings(cell=cell, decoder="fed")


@pytest.mark.parametrize("cell", LAYER_NAMES)
def test_the_deep_decoder_starts_in_what_was_read(cell):
    net = TranslateNet(30, 30, NetSettings(hidden=6, words=8, cell=cell), is_joint=True).eval()
    memory = net.encode(torch.randint(4, 30, (5, 3)), torch.tensor([5, 2, 1]))
    state = net.first_state(memory)
    n_parts = len(state) // 2
    assert all(torch.equal(a, b) for a, b in zip(state[:n_parts], state[n_parts:], strict=True))
    assert state[0].any()
    zeros = pytree.tree_leaves(initial_state(net.lower, 3))
    assert all(torch.equal(part, zero[0]) for part, zero in zip(state[1:n_parts], zeros[1:], strict=True))


@pytest.mark.parametrize("name", LAYER_NAMES)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers_by_name(name, bidirectional):
    layers = make_layers(name, 3, 5, 2, bidirectional=bidirectional, dropout=0.5).eval()
    xs = torch.randn(6, 4, 3)
    output, state = layers(xs)
    assert output.shape == (6, 4, 10 if bidirectional else 5)
    first = initial_state(layers, 4)
    assert_equal(layers(xs, first), (output, state))
    mixed = _without_row_0(state, pytree.tree_map(lambda leaf: leaf + 7, first))
    for part, before, start in zip(*map(pytree.tree_leaves, (mixed, state, first)), strict=True):
        assert torch.equal(part[:, 1:], before[:, 1:])
        assert torch.equal(part[:, 0], start[:, 0] + 7)


def test_names_of_layers():
    assert LAYER_NAMES[:3] == ("lstm", "gru", "rnn")
    assert {name for name, kind in DROP_INS.items() if type(make_layers(name, 3, 5)) is kind} == {"lstm", "gru", "rnn"}
    assert "elman" in LAYER_NAMES
    assert "simple_rnn" in cells.BY_NAME.keys() - set(LAYER_NAMES)


def test_a_cell_keeps_its_own_initialization():
    layers = make_layers("elman", 3, 5)
    before = copy.deepcopy(layers.state_dict())
    start_orthogonal(layers)
    assert_equal(dict(layers.state_dict()), dict(before))
    drop_in = make_layers("gru", 3, 5)
    start_orthogonal(drop_in)
    gate = drop_in.weight_hh_l0[:5]
    torch.testing.assert_close(gate @ gate.T, torch.eye(5))
