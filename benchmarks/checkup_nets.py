"""Nets for check-ups: ill by construction, healthy, with known dynamics, trained on the spot.

The ill and the healthy ones are functions of a layer's name that return model, batch and loss.
"""

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


# ---- dynamics that are known


class Linear(nn.Module):
    """A linear recurrence h_t = W h_{t-1} + x_t."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, xs):
        first = xs.new_zeros(xs.shape[1:])
        return unrolled.scan(self._step, xs, first, engine="eager")[0]

    def _step(self, x, h):
        h = h @ self.weight.T + x
        return h, h


def linear(eigenvalues):
    """A recurrence whose matrix has these eigenvalues, complex ones with their conjugates, and is not normal."""
    blocks = [
        torch.tensor([[each.real, each.imag], [-each.imag, each.real]], dtype=torch.float64)
        if each.imag
        else torch.tensor([[each.real]], dtype=torch.float64)
        for each in map(complex, eigenvalues)
    ]
    diagonal = torch.block_diag(*blocks)
    basis = torch.randn(diagonal.shape, dtype=torch.float64)
    weight = basis @ diagonal @ basis.inverse()
    return Linear(weight), torch.randn(400, 4, len(diagonal), dtype=torch.float64)


LORENZ_STEP = 0.02


def lorenz(_, state):
    """The Lorenz system (σ=10, ρ=28, β=8/3) after `LORENZ_STEP`, by the Runge-Kutta method of fourth order."""

    def slope(s):
        x, y, z = s.unbind(1)
        return torch.stack((10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z), 1)

    h = LORENZ_STEP
    a = slope(state)
    b = slope(state + h / 2 * a)
    c = slope(state + h / 2 * b)
    d = slope(state + h * c)
    state = state + h / 6 * (a + 2 * b + 2 * c + d)
    return state, state


def lorenz_states(rows, steps):
    """States on the attractor, float64 [rows, 3]."""
    state = torch.randn(rows, 3, dtype=torch.float64) + torch.tensor([1.0, 1.0, 25.0], dtype=torch.float64)
    for _ in range(steps):
        _, state = lorenz(None, state)
    return state


# ---- tasks that are learned on the spot


class Reader(nn.Module):
    """A layer and a head."""

    def __init__(self, layer, outputs):
        super().__init__()
        self.rnn, self.head = layer, nn.Linear(layer.hidden_size, outputs)

    def forward(self, xs):
        return self.head(self.rnn(xs)[0])


def flip_flop(updates=800):
    """Three bits: each input channel sets its bit to the sign of its last pulse. An LSTM of 16 units, trained."""

    def draw():
        pulses = (torch.rand(64, 64, 3) < 0.2) * (2.0 * torch.randint(0, 2, (64, 64, 3)) - 1)
        pulses[0] = 2.0 * torch.randint(0, 2, (64, 3)) - 1
        bits, now = [], pulses[0]
        for pulse in pulses:
            now = torch.where(pulse != 0, pulse, now)
            bits.append(now)
        return pulses, torch.stack(bits)

    net, batches = Reader(unrolled.LSTM(3, 16), 3), [draw() for _ in range(20)]
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.03, total_steps=updates)
    for i in range(updates):
        xs, bits = batches[i % len(batches)]
        optimizer.zero_grad()
        nn.functional.mse_loss(net(xs), bits).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1)
        optimizer.step()
        schedule.step()
    xs, bits = draw()
    return net, xs, lambda ys: nn.functional.mse_loss(ys, bits)


def copy_task(delay, *, is_trained=True, layer="LSTM", most=1500):
    """One of 8 symbols, marked among others, is asked for `delay` steps later, at the last step; half as many symbols
    come before it. An untrained net is torch's as it begins; a trained one begins with gates open for the delay.
    """
    steps, at = delay + delay // 2 + 1, delay // 2

    def draw(rows):
        symbols = torch.randint(8, (steps, rows))
        xs = torch.zeros(steps, rows, 9)
        xs[..., :8] = nn.functional.one_hot(symbols, 8)
        xs[at, :, 8] = 1
        return xs, symbols[at]

    net = Reader(getattr(unrolled, layer)(9, 32), 8)
    if is_trained:
        opened = (torch.rand(32) * (steps - 2) + 1).log()  # C. Tallec and Y. Ollivier, 2018
        biases = net.rnn.bias_ih_l0.detach()
        biases[32:64] = opened
        if layer == "LSTM":
            biases[:32] = -opened
        optimizer = torch.optim.Adam(net.parameters(), 0.01)
        for _ in range(most):
            xs, symbols = draw(64)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(xs)[-1], symbols)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1)
            optimizer.step()
            if loss < 0.02:
                break
    xs, symbols = draw(32)
    return net, xs, lambda ys: nn.functional.cross_entropy(ys[-1], symbols)
