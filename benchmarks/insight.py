"""What does a probe cost? `python -m benchmarks.insight`: a training step at (batch, time, features) with and without.

`--clip`: what `clip_state_grad` costs in such a step. `--attribution`: how nearly integrated gradients add up.
`--picture FILE` makes the picture of docs/insight.md instead: where the gradient of the last step goes.
"""

import argparse

import torch
from torch import nn

import unrolled
from benchmarks.harness import append, interleaved, quartiles

N_ROWS, N_STEPS, WIDTH = 32, 128, 256
LONG = 200


def rivals(layer):
    xs = torch.randn(N_STEPS, N_ROWS, WIDTH)

    def step():
        layer.zero_grad()
        layer(xs)[0].square().mean().backward()

    def probed():
        with unrolled.probe(layer):
            step()

    return {"without": step, "probe": probed}


class Nets(nn.Module):
    """Three networks over the same sequence."""

    def __init__(self, n_features, n_hidden):
        super().__init__()
        self.elman = unrolled.RNN(n_features, n_hidden)
        self.lstm = unrolled.LSTM(n_features, n_hidden)
        self.lstm_open = unrolled.LSTM(n_features, n_hidden)
        with torch.no_grad():  # its forget gates begin open
            self.lstm_open.bias_ih_l0[n_hidden : 2 * n_hidden] += 4

    def forward(self, xs):
        return [layer(xs)[0] for layer in self.children()]


def picture(file):
    torch.manual_seed(0)
    nets, xs = Nets(2, 64), torch.randn(LONG, 16, 2)
    with unrolled.probe(nets) as record:
        sum(ys[-1].square().mean() for ys in nets(xs)).backward()
    print(record)
    # no date, and the same ids: the file changes where the picture does
    record.plot().savefig(file, metadata={"Date": None} if file.endswith(".svg") else None, dpi=100)


def clipping(layer, clipped):
    """A training step of a layer and of the same with its state's gradient clamped."""
    clipped.load_state_dict(layer.state_dict())
    xs = torch.randn(N_STEPS, N_ROWS, WIDTH)

    def step(each):
        each.zero_grad()
        each(xs)[0].square().mean().backward()

    return {"without": lambda: step(layer), "clip": lambda: step(clipped)}


def costs_of_clipping(rounds):
    rows = []
    for name in ("RNN", "LSTM", "GRU"):
        kind = getattr(unrolled, name)
        ways = clipping(kind(WIDTH, WIDTH, engine="fused"), kind(WIDTH, WIDTH, engine="fused", clip_state_grad=1.0))
        seconds = interleaved(ways, rounds=rounds, warm_up=3)
        medians = {way: quartiles(each)["median_s"] for way, each in seconds.items()}
        ratio = medians["clip"] / medians["without"]
        print(f"{name}: {1e3 * medians['without']:.1f} ms, {ratio:.2f} times with clip_state_grad")
        for way, each in seconds.items():
            rows.append({"layer": name, "way": way, "batch": N_ROWS, "time": N_STEPS, "width": WIDTH} | quartiles(each))
    append("insight", rows)


class Reader(nn.Module):
    """A layer and one number of each row; `scale` makes it steep."""

    def __init__(self, name, scale):
        super().__init__()
        self.layer, self.out = getattr(unrolled, name)(8, 32), nn.Linear(32, 1)
        with torch.no_grad():
            for weight in self.layer.parameters():
                weight.mul_(scale)

    def forward(self, xs):
        return self.out(self.layer(xs)[0][-1]).squeeze(1)


def completeness_of_attributions():
    rows = []
    for name in ("RNN", "LSTM", "GRU"):
        for scale in (1, 2, 4):
            torch.manual_seed(0)
            found = unrolled.attribute(Reader(name, scale), torch.randn(100, 16, 8))
            print(f"{name}, weights times {scale}: {found.completeness:.2%} are missed, {found.steps} steps")
            rows.append({"layer": name, "scale": scale, "missed": found.completeness, "steps": found.steps})
    append("attribution", rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--picture", metavar="FILE")
    parser.add_argument("--clip", action="store_true")
    parser.add_argument("--attribution", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.picture:
        picture(options.picture)
        return
    if options.clip or options.attribution:
        if options.clip:
            costs_of_clipping(options.rounds)
        if options.attribution:
            completeness_of_attributions()
        return
    rows = []
    for name in ("RNN", "LSTM", "GRU"):
        seconds = interleaved(rivals(getattr(unrolled, name)(WIDTH, WIDTH)), rounds=options.rounds, warm_up=3)
        medians = {way: quartiles(each)["median_s"] for way, each in seconds.items()}
        print(
            f"{name}: {1e3 * medians['without']:.1f} ms, {medians['probe'] / medians['without']:.2f} times with a probe"
        )
        for way, each in seconds.items():
            rows.append({"layer": name, "way": way, "batch": N_ROWS, "time": N_STEPS, "width": WIDTH} | quartiles(each))
    append("insight", rows)


if __name__ == "__main__":
    main()
