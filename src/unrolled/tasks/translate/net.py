"""The network that translates.

Inputs: ids of source subwords. Outputs: scores of target subwords. The encoder is bidirectional. The decoder has one of
two forms. "deep": a recurrent layer reads the target so far, its states attend to the memory, and a second layer reads
both; the attention is no input of the first layer, so that each layer is one compiled loop and the attention of all
time steps one product. "fed" (input feeding, M.-T. Luong et al., EMNLP 2015): the attention of a step is an input of
the next; its loop is a `scan` whose step captures the memory.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unrolled.data.subwords import BEGIN, PAD, UNKNOWN
from unrolled.engine.step.declared import Declared
from unrolled.engine.trees import Tree
from unrolled.errors import SettingsError
from unrolled.nn.attention import Attention, attend
from unrolled.nn.named_layers import DROP_INS, LAYER_NAMES, initial_state, make_layers
from unrolled.nn.token_encoder import run_recurrent
from unrolled.scan import Engine, scan
from unrolled.settings import Settings, option

FORMS = ("deep", "fed")
# torch's own, whatever the names of torch.nn are exchanged for later
_SINGLE_CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}
_PLACES = 16  # a compiled loop is for one number of places: sentences of all lengths share a few


@dataclass(frozen=True)
class NetSettings(Settings):
    """What the network is."""

    cell: str = option("gru", "recurrent layer", choices=LAYER_NAMES, with_start="fixed")
    layers: int = option(
        1, "recurrent layers of the encoder, each in both directions", least=1, most=20, with_start="fixed"
    )
    hidden: int = option(
        256,
        "features of the encoder's state, in each direction; the decoder has twice",
        least=1,
        most=16384,
        with_start="fixed",
    )
    words: int = option(512, "features of a subword's vector", least=1, most=16384, with_start="fixed")
    decoder: str = option(
        "deep", "deep: two layers, fast; fed: one layer with input feeding", choices=FORMS, with_start="fixed"
    )
    attention: str = option(
        "multiplicative", "how places are scored", choices=("multiplicative", "additive"), with_start="fixed"
    )
    dropout: float = option(0.4, "share of features dropped in training", least=0, most=0.95)
    word_dropout: float = option(0.1, "share of subwords shown as unknown in training", least=0, most=0.95)
    smoothing: float = option(0.1, "share of certainty spread over all subwords in training", least=0, most=0.9)
    own: float = option(
        0.0,
        "share of inputs that are the model's own choice late in training; 0: full teacher forcing",
        least=0,
        most=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decoder == "fed" and self.cell not in DROP_INS:
            raise SettingsError(
                f"cell={self.cell!r}: the decoder with input feeding takes {', '.join(DROP_INS)} alone; with this cell "
                "take --decoder deep"
            )


@dataclass(frozen=True)
class Memory:
    """What the encoder read.

    Attributes:
        values: [batch, places, memory].
        keys: [batch, places, size].
        is_padding: bool [batch, places].
    """

    values: Tensor
    keys: Tensor
    is_padding: Tensor

    def padded(self) -> "Memory":
        """With places up to a multiple of `_PLACES`."""
        more = -self.is_padding.shape[1] % _PLACES
        pad = nn.functional.pad
        return Memory(
            pad(self.values, (0, 0, 0, more)),
            pad(self.keys, (0, 0, 0, more)),
            pad(self.is_padding, (0, more), value=True),
        )


class TranslateNet(nn.Module):
    """Encoder, attention, decoder; the vectors of target subwords are also the weights of the output."""

    def __init__(self, n_source: int, n_target: int, settings: NetSettings, *, is_joint: bool) -> None:
        super().__init__()
        self.settings = settings
        #: of the fed decoder's `scan`; layers have their own
        self.clip_state_grad: float | None = None
        words, size = settings.words, 2 * settings.hidden
        self.target = nn.Embedding(n_target, words, padding_idx=PAD)
        self.source = None if is_joint else nn.Embedding(n_source, words, padding_idx=PAD)
        for embedding in (self.target, self.source):
            if embedding is not None:
                nn.init.normal_(embedding.weight, std=words**-0.5)
        cell = settings.cell
        self.encoder = make_layers(cell, words, settings.hidden, settings.layers, bidirectional=True)
        self.start = nn.Linear(size, size)
        self.attention = Attention(settings.attention, size, size, size)
        if settings.decoder == "fed":
            self.cell: nn.RNNCellBase = _SINGLE_CELLS[cell](2 * words, size)
        else:
            self.lower, self.upper = make_layers(cell, words, size), make_layers(cell, 2 * size, size)
        self.readout = nn.Linear(2 * size + words, words)
        self.bias = nn.Parameter(torch.zeros(n_target))

    def encode(self, sources: Tensor, lengths: Tensor) -> Memory:
        """sources int64 [time, batch]."""
        embedding = self.target if self.source is None else self.source
        read = run_recurrent(self.encoder, self._dropped(embedding(self._hidden(sources))), lengths)
        values = self._dropped(read).transpose(0, 1)
        is_padding = torch.arange(values.shape[1], device=values.device) >= lengths.to(values.device).unsqueeze(1)
        return Memory(values, self.attention.keys(values), is_padding)

    def first_state(self, memory: Memory) -> Tree:
        """The decoder's, before it has written anything; every leaf [batch, ...]."""
        n_there = (~memory.is_padding).sum(1, keepdim=True)
        mean = memory.values.masked_fill(memory.is_padding.unsqueeze(2), 0).sum(1) / n_there
        hidden = self.start(mean).tanh()
        if self.settings.decoder == "fed":
            cell = (hidden, torch.zeros_like(hidden)) if self.settings.cell == "lstm" else (hidden,)
            return (*cell, hidden.new_zeros(len(hidden), self.settings.words))
        return tuple(part for layer in (self.lower, self.upper) for part in _started(layer, hidden))

    def decode(self, inputs: Tensor, state: Tree, memory: Memory) -> tuple[Tensor, Tensor, Tree]:
        """Readouts [time, batch, words], attention [time, batch, places] and the state after inputs [time, batch]."""
        vectors = self._dropped(self.target(inputs))
        return (self._fed if self.settings.decoder == "fed" else self._deep)(vectors, state, memory)

    def _deep(self, vectors: Tensor, state: Tree, memory: Memory) -> tuple[Tensor, Tensor, Tree]:
        half = len(state) // 2
        lower, first = self.lower(vectors, _packed(self.lower, state[:half]))
        read, weights = self.attention(lower.transpose(0, 1), memory.keys, memory.values, memory.is_padding)
        read = read.transpose(0, 1)
        upper, second = self.upper(torch.cat((self._dropped(lower), read), 2), _packed(self.upper, state[half:]))
        readouts = self.readout(torch.cat((self._dropped(upper), read, vectors), 2)).tanh()
        return self._dropped(readouts), weights.transpose(0, 1), (*_unpacked(first), *_unpacked(second))

    def _fed(self, vectors: Tensor, state: Tree, memory: Memory) -> tuple[Tensor, Tensor, Tree]:
        places, is_kept = memory.is_padding.shape[1], None
        is_fused = _is_fused(vectors)
        if is_fused:
            memory = memory.padded()
        if self.training and self.settings.dropout:
            kept = 1 - self.settings.dropout
            is_kept = (torch.rand(vectors.shape[1], self.settings.words, device=vectors.device) < kept) / kept
            is_kept = is_kept.to(vectors.dtype)

        cell, attention = self.cell, self.attention
        tensors = [
            cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh,
            attention.of_query.weight, attention.of_query.bias,
            attention.score.weight if attention.kind == "additive" else None,
            self.readout.weight, self.readout.bias, memory.keys, memory.values, memory.is_padding, is_kept,
        ]  # fmt: skip
        step = Declared(_fed_step, (self.settings.cell,), tensors, by_row=range(len(tensors) - 4, len(tensors)))
        engine: Engine = "auto" if is_fused else "eager"
        (readouts, weights), last = scan(step, vectors, state, engine=engine, clip_state_grad=self.clip_state_grad)
        return readouts, weights[..., :places], last

    def scores(self, readouts: Tensor) -> Tensor:
        """Of all target subwords, [..., subwords]."""
        return nn.functional.linear(readouts, self.target.weight, self.bias)

    def forward(self, sources: Tensor, lengths: Tensor, targets: Tensor, own: float) -> Tensor:
        """The loss of a batch, per subword of the targets.

        Args:
            sources: int64 [time, batch].
            lengths: int64 [batch], of the sources.
            targets: int64 [time, batch], with their end, padded.
            own: share of inputs that are the model's own choice: scheduled sampling (S. Bengio et al., NeurIPS 2015) in
                two passes (T. Mihaylova and A. Martins, ACL student workshop 2019).
        """
        memory = self.encode(sources, lengths)
        state = self.first_state(memory)
        begin = targets.new_full((1, targets.shape[1]), BEGIN)
        inputs = torch.cat((begin, targets[:-1]))
        if own:
            with torch.no_grad():
                chosen = self.scores(self.decode(inputs, state, memory)[0]).argmax(2)
            is_own = torch.rand(inputs.shape, device=inputs.device) < own
            is_own[0] = False
            inputs = torch.where(is_own & (inputs != PAD), torch.cat((begin, chosen[:-1])), inputs)
        readouts, _, _ = self.decode(self._hidden(inputs), state, memory)
        is_there = targets != PAD
        scores = self.scores(readouts[is_there])
        return nn.functional.cross_entropy(scores, targets[is_there], label_smoothing=self.settings.smoothing)

    def _hidden(self, ids: Tensor) -> Tensor:
        """Some subwords shown as unknown, in training."""
        if not self.training or not self.settings.word_dropout:
            return ids
        is_hidden = torch.rand(ids.shape, device=ids.device) < self.settings.word_dropout
        return ids.masked_fill(is_hidden & (ids > UNKNOWN), UNKNOWN)

    def _dropped(self, xs: Tensor) -> Tensor:
        return nn.functional.dropout(xs, self.settings.dropout, self.training)


def _fed_step(tensors: list[Any], vector: Tensor, before: Tree, cell: str) -> tuple[Tree, Tree]:
    """A step of the decoder with input feeding: its readout and where it read, and the state after it."""
    *weights, w_query, b_query, score, w_readout, b_readout, keys, values, is_padding, is_kept = tensors
    *states, fed = before
    run: Any = {"lstm": torch.lstm_cell, "gru": torch.gru_cell, "rnn": torch.rnn_tanh_cell}[cell]
    result = run(torch.cat((vector, fed), 1), tuple(states) if cell == "lstm" else states[0], *weights)
    states = result if cell == "lstm" else (result,)
    linear = nn.functional.linear
    asked = linear(states[0].unsqueeze(1), w_query, b_query)
    read, places = attend(asked, keys, values, is_padding, score)
    readout = linear(torch.cat((states[0], read.squeeze(1), vector), 1), w_readout, b_readout).tanh()
    readout = readout if is_kept is None else readout * is_kept
    return (readout, places.squeeze(1)), (*states, readout)


def _is_fused(vectors: Tensor) -> bool:
    """Whether a decoder with input feeding is the faster as a compiled loop: not for one step, as of a decoder that
    writes, as each call of a loop packs its weights.
    """
    # one thread's time at the default widths, 32 places: one step of 40 rows 5.7 ms eagerly and 7.9 fused, 20 steps of
    # 64 rows 162 and 101 ms, with their backward 591 and 314
    return vectors.is_cpu and len(vectors) > 1 and not torch.is_autocast_enabled("cpu")


def _started(layer: nn.Module, hidden: Tensor) -> tuple[Tensor, ...]:
    """A layer's first state; its first tensor of the shape of `hidden` [batch, size], the hidden state, is `hidden`."""
    parts = [part.to(hidden.dtype) for part in _unpacked(initial_state(layer, len(hidden)))]
    at = next((i for i, part in enumerate(parts) if part.shape == hidden.shape), None)
    if at is None:
        raise SettingsError("translate: the cell's state has no tensor [batch, hidden], where the decoder could start")
    return (*parts[:at], hidden, *parts[at + 1 :])


def _packed(layer: nn.Module, state: tuple[Tensor, ...]) -> Tree:
    """As a layer takes it: each tensor [1, batch, ...], in the form of the layer's own state."""
    return pytree.tree_unflatten([each.unsqueeze(0) for each in state], pytree.tree_structure(initial_state(layer, 0)))


def _unpacked(state: object) -> tuple[Tensor, ...]:
    return tuple(each.squeeze(0) for each in pytree.tree_leaves(state))
