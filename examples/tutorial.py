"""The classic recurrent network, then the same through `scan`; run it: python examples/tutorial.py

Two tasks on data that every Python carries:
1. many to one: which module does a name belong to, read letter by letter (cross-entropy on the last step);
2. many to many: how far will the next line be indented, along a source file (squared error on every step).
"""

import argparse
import ast
import builtins
import dataclasses
import errno
import http
import inspect
import math
import random
import signal
import string
import tempfile
import token
import tokenize

import torch
from torch import nn

import unrolled
from unrolled.cells import Elman, SimpleRNN

LETTERS = string.ascii_letters + string.digits + "_"


# ---------------------------------------------------------------------------------------------- 1. names to modules
def names_of_modules() -> dict[str, list[str]]:
    """Public names, by where they come from."""
    exceptions = [name for name, value in vars(builtins).items() if inspect.isclass(value) and name.endswith("Error")]
    return {
        "ast": [name for name, value in vars(ast).items() if inspect.isclass(value) and name[0].isupper()],
        "errno": [name for name in dir(errno) if name.startswith("E")],
        "exceptions": exceptions,
        "http": [status.name for status in http.HTTPStatus],
        "math": [name for name in dir(math) if name[0] != "_"],
        "signal": [name for name in dir(signal) if name.startswith("SIG")],
        "token": list(token.tok_name.values()),
    }


def line_to_tensor(name: str) -> torch.Tensor:
    """One-hot letters [length, 1, letters]."""
    tensor = torch.zeros(len(name), 1, len(LETTERS))
    for i, letter in enumerate(name):
        tensor[i, 0, LETTERS.index(letter)] = 1
    return tensor


def train(rnn, criterion, optimizer, input_tensor, target_tensor):
    """The listing's training step: forward in time, loss on the last output, backpropagation through time."""
    hidden = rnn.initHidden()
    optimizer.zero_grad()
    for i in range(input_tensor.size(0)):
        output, hidden = rnn(input_tensor[i], hidden)
    loss = criterion(output, target_tensor)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(rnn.parameters(), 1.0)
    optimizer.step()
    return output, loss.item()


def split_names(seed: int = 0) -> tuple[list[tuple[str, int]], list[tuple[str, int]], list[str]]:
    """Nine tenths to learn from, one tenth to check on, and the classes."""
    modules = names_of_modules()
    pairs = [(name, label) for label, names in enumerate(modules.values()) for name in sorted(set(names))]
    random.Random(seed).shuffle(pairs)
    at = len(pairs) // 10
    return pairs[at:], pairs[:at], list(modules)


def batch_of(pairs: list[tuple[str, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Names side by side: letters [time, batch, letters] padded with zeros, lengths [batch], labels [batch]."""
    lengths = torch.tensor([len(name) for name, _ in pairs])
    xs = torch.zeros(int(lengths.max()), len(pairs), len(LETTERS))
    for row, (name, _) in enumerate(pairs):
        xs[: len(name), row] = line_to_tensor(name)[:, 0]
    return xs, lengths, torch.tensor([label for _, label in pairs])


def accuracy(rnn: SimpleRNN, pairs: list[tuple[str, int]]) -> float:
    """Share of the names whose module the last output names."""
    xs, lengths, labels = batch_of(pairs)
    with torch.no_grad():
        outputs, _ = unrolled.scan(rnn, xs, rnn.initHidden(len(pairs)), lengths=lengths)
    last = outputs[lengths - 1, torch.arange(len(pairs))]
    return float((last.argmax(1) == labels).float().mean())


def majority(learn: list[tuple[str, int]], check: list[tuple[str, int]]) -> float:
    """The baseline: always the commonest module."""
    labels = [label for _, label in learn]
    common = max(set(labels), key=labels.count)
    return sum(label == common for _, label in check) / len(check)


def classic(max_iterations: int, activation=None) -> float:
    """The listing as it is known: one name at a time; with an activation, its state is no longer linear."""
    torch.manual_seed(0)
    learn, check, modules = split_names()
    rnn = SimpleRNN(len(LETTERS), 64, len(modules), activation=activation)
    criterion, optimizer = nn.NLLLoss(), torch.optim.SGD(rnn.parameters(), lr=0.02)
    draw, recent, best, since_best = random.Random(1), [], math.inf, 0
    for iteration in range(1, max_iterations + 1):
        name, label = draw.choice(learn)
        _, loss = train(rnn, criterion, optimizer, line_to_tensor(name), torch.tensor([label]))
        recent.append(loss)
        if iteration % 1000 == 0:
            average = sum(recent) / len(recent)
            print(f"  iteration {iteration}: loss {average:.3f}")
            recent, since_best = [], 0 if average < best - 0.01 else since_best + 1
            best = min(best, average)
            if not average < 10:
                print("  exploded: nothing bounds a state that is linear in the one before")
                break
            if since_best == 4:
                print("  converged: four averages without improvement")
                break
    return accuracy(rnn, check)


def batched(max_iterations: int) -> float:
    """The same cell, all names at once: `scan` is the loop over time, `lengths` says where each name ends."""
    torch.manual_seed(0)
    learn, check, modules = split_names()
    rnn = SimpleRNN(len(LETTERS), 64, len(modules), activation=torch.tanh)
    optimizer = torch.optim.Adam(rnn.parameters(), lr=0.01)
    xs, lengths, labels = batch_of(learn)
    best, since_best = math.inf, 0
    for iteration in range(1, max_iterations + 1):
        outputs, _ = unrolled.scan(rnn, xs, rnn.initHidden(len(learn)), lengths=lengths)
        loss = unrolled.sequence_loss(outputs, labels, nn.functional.nll_loss, over="last", lengths=lengths)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rnn.parameters(), 1.0)
        optimizer.step()
        if iteration % 10 == 0:
            print(f"  iteration {iteration}: loss {loss.item():.3f}")
        since_best = 0 if loss.item() < best - 0.001 else since_best + 1
        best = min(best, loss.item())
        if since_best == 20:
            print("  converged: twenty iterations without improvement")
            break
    return accuracy(rnn, check)


# ---------------------------------------------------------------------------------------------- 2. indentation
class Indentation(nn.Module):
    """A step of one's own: an Elman cell, and a linear layer that reads the next value off its state."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.cell = Elman(2, hidden_size)
        self.readout = nn.Linear(hidden_size, 1)

    def forward(self, x, hidden):
        _, hidden = self.cell(x, hidden)
        return x[:, :1] + self.readout(hidden), hidden  # the last value, and what is to be added to it


def indentations() -> torch.Tensor:
    """Source files side by side, [time, batch, 2]: the levels a line is indented, and whether it ends in a colon."""
    rows = []
    for module in (argparse, ast, dataclasses, inspect, random, signal, string, tempfile, tokenize):
        lines = [line for line in inspect.getsource(module).splitlines() if line.strip()]
        levels = [[(len(line) - len(line.lstrip())) / 4, float(line.rstrip().endswith(":"))] for line in lines]
        rows += [levels[i : i + 100] for i in range(0, len(levels) - 99, 100)]
    return torch.tensor(rows).transpose(0, 1)


def indentation(max_iterations: int) -> tuple[float, float]:
    """Squared error of the next line's indentation on files not learnt from: the model's and the last value's."""
    torch.manual_seed(0)
    series = indentations()
    n_learn = int(series.shape[1] * 0.9)
    model = Indentation(32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def loss_of(part: torch.Tensor) -> torch.Tensor:
        ys, _ = unrolled.scan(model, part[:-1], model.cell.initial_state(part.shape[1]))
        return unrolled.sequence_loss(ys, part[1:, :, :1], nn.functional.mse_loss)

    best, since_best = math.inf, 0
    for iteration in range(1, max_iterations + 1):
        loss = loss_of(series[:, :n_learn])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if iteration % 20 == 0:
            print(f"  iteration {iteration}: squared error {loss.item():.3f}")
        since_best = 0 if loss.item() < best - 1e-4 else since_best + 1
        best = min(best, loss.item())
        if since_best == 20:
            print("  converged: twenty iterations without improvement")
            break
    check = series[:, n_learn:]
    with torch.no_grad():
        ours = loss_of(check).item()
    last_value = nn.functional.mse_loss(check[:-1, :, :1], check[1:, :, :1]).item()
    return ours, last_value


def main(share: float = 1.0) -> dict[str, float]:
    """Runs both tasks; `share` of the iterations."""
    print("1. names to modules, the listing's own loop: a state that is linear, until it explodes")
    figures = {"linear": classic(int(30_000 * share))}
    print("   the same with tanh")
    figures["classic"] = classic(int(30_000 * share), torch.tanh)
    print("   the same cell through scan, all names at once")
    figures["batched"] = batched(int(300 * share))
    learn, check, _ = split_names()
    figures["majority"] = majority(learn, check)
    print(
        f"accuracy on {len(check)} names not seen: linear {figures['linear']:.2f}, tanh {figures['classic']:.2f}, "
        f"batched {figures['batched']:.2f}; "
        f"baseline, always the commonest module: {figures['majority']:.2f}\n"
    )
    print("2. indentation of the next line, squared error on every step")
    figures["indentation"], figures["last_value"] = indentation(int(300 * share))
    print(
        f"squared error on files not seen: {figures['indentation']:.3f}; "
        f"baseline, the last value again: {figures['last_value']:.3f}"
    )
    return figures


if __name__ == "__main__":
    main()
