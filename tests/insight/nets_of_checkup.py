"""Nets that are ill by construction, and healthy ones: each a function (layer, seed) -> (model, batch, loss)."""

import torch
from torch import nn

import unrolled

LAYERS = {"Elman": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
# one size for all, so that each layer is compiled once
INPUTS, HIDDEN, TIME, ROWS = 4, 16, 100, 8


class Net(nn.Module):
    def __init__(self, layer, outputs=1, **options):
        super().__init__()
        self.layer = layer
        self.rnn = LAYERS[layer](INPUTS, HIDDEN, **options)
        self.head = nn.Linear(HIDDEN, outputs)

    def forward(self, xs):
        return self.head(self.rnn(xs)[0])

    def gate(self, name):
        """The bias of a gate, to be changed in place."""
        at = {"LSTM": "ifgo", "GRU": "rzn", "Elman": "h"}[self.layer].index(name)
        return self.rnn.bias_ih_l0.detach()[at * HIDDEN : (at + 1) * HIDDEN]

    def remember(self, bias):
        """Makes what it keeps last: a bias of the gate that keeps, or an orthogonal matrix."""
        if self.layer == "Elman":
            nn.init.orthogonal_(self.rnn.weight_hh_l0)
            self.rnn.weight_ih_l0.detach().mul_(0.3)
        else:
            self.gate("f" if self.layer == "LSTM" else "z").add_(bias)


class InPieces(Net):
    """The gradient is cut after every 10 steps."""

    def forward(self, xs):
        state, ys = None, []
        for part in xs.split(10):
            y, state = self.rnn(part, state)
            state = tuple(each.detach() for each in state) if isinstance(state, tuple) else state.detach()
            ys.append(y)
        return self.head(torch.cat(ys))


class Normalized(Net):
    """Its running means have never seen the data."""

    def __init__(self, layer):
        super().__init__(layer)
        self.norm = nn.BatchNorm1d(INPUTS)

    def forward(self, xs):
        return super().forward(self.norm(xs.flatten(0, 1)).view_as(xs))


def vanishing(layer):
    return Net(layer), torch.randn(TIME, ROWS, INPUTS), None


def exploding(layer):
    net = Net(layer, **({"nonlinearity": "relu"} if layer == "Elman" else {}))
    if layer == "Elman":
        net.rnn.weight_hh_l0.detach().copy_(1.2 * torch.eye(HIDDEN))
    else:
        nn.init.normal_(net.rnn.weight_hh_l0, std={"LSTM": 8, "GRU": 24}[layer] / HIDDEN**0.5)
    return net, 0.1 * torch.randn(TIME, ROWS, INPUTS), None


def saturated_gates(layer):
    net = Net(layer)
    net.rnn.weight_ih_l0.detach().mul_(50)
    return net, torch.randn(TIME, ROWS, INPUTS), None


def dead_units(layer):
    net = Net(layer, **({"nonlinearity": "relu"} if layer == "Elman" else {}))
    half = net.gate({"Elman": "h", "LSTM": "o", "GRU": "z"}[layer])[: HIDDEN // 2]
    half.add_(20 if layer == "GRU" else -20)
    return net, torch.randn(TIME, ROWS, INPUTS), None


def truncation_too_short(layer):
    net = InPieces(layer)
    net.remember(4)
    return net, torch.randn(TIME, ROWS, INPUTS), None


def unstable_in_evaluation(layer):
    return Normalized(layer), 20 + 2 * torch.randn(30, ROWS, INPUTS), None


def no_memory_needed(layer):
    def draw():
        xs = torch.randn(20, 32, INPUTS)
        return xs, (2 * xs[..., :1]).sin()

    return _trained(Net(layer), draw, nn.functional.mse_loss, 120, 0.03)


def not_a_number(layer):
    xs = torch.randn(TIME, ROWS, INPUTS)
    xs[40, 2, 1] = torch.nan
    return Net(layer), xs, None


ILL = {
    "vanishing": vanishing,
    "exploding": exploding,
    "saturated gates": saturated_gates,
    "dead units": dead_units,
    "truncation too short": truncation_too_short,
    "unstable in evaluation": unstable_in_evaluation,
    "no memory needed": no_memory_needed,
    "NaN": not_a_number,
}


def open_gates(layer):
    """Not trained yet, and begun well."""
    net = Net(layer)
    net.remember(3)
    return net, torch.randn(50, ROWS, INPUTS), None


def mean_of_five(layer):
    """Trained: twice the mean of the last five inputs."""

    def draw():
        xs = torch.randn(30, 16, INPUTS)
        padded = torch.cat((torch.zeros(4, 16, 1), xs[..., :1]))
        return xs, 2 * padded.unfold(0, 5, 1).mean(-1)

    return _trained(Net(layer), draw, nn.functional.mse_loss, 250, 0.01)


def first_symbol(layer):
    """Trained: which symbol came first, 14 noisy steps ago."""
    net = Net(layer, 4)
    net.remember(2)

    def draw():
        first = torch.randint(4, (32,))
        xs = 0.1 * torch.randn(15, 32, 4)
        xs[0] = nn.functional.one_hot(first, 4)
        return xs, first

    return _trained(net, draw, lambda ys, first: nn.functional.cross_entropy(ys[-1], first), 150, 0.01)


HEALTHY = {"open gates": open_gates, "mean of five": mean_of_five, "first symbol": first_symbol}


def _trained(net, draw, loss, steps, lr):
    """Net, a batch that it has not seen, and the loss there."""
    unrolled.swap(net)
    optimizer = torch.optim.Adam(net.parameters(), lr)
    for _ in range(steps):
        xs, targets = draw()
        optimizer.zero_grad()
        loss(net(xs), targets).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1)
        optimizer.step()
    unrolled.unswap(net)
    xs, targets = draw()
    return net, xs, lambda ys: loss(ys, targets)
