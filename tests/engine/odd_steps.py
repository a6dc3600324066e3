"""Steps that nobody would write, made by Hypothesis from the operations that a fused loop holds."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch.nn import functional as F

INPUT, HIDDEN = 3, 6

UNARY = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": F.softplus,
    "logsigmoid": F.logsigmoid,
    "exp": lambda a: torch.exp(-a.abs()),
    "log": lambda a: torch.log(1 + a * a),
    "sqrt": lambda a: torch.sqrt(1 + a * a),
    "rsqrt": lambda a: torch.rsqrt(1 + a * a),
    "abs": torch.abs,
    "sign": lambda a: torch.sign(a) * 0.5,
    "square": lambda a: 0.1 * a.pow(2),
    "clamp": lambda a: a.clamp(-0.7, 0.9),
    "leaky": lambda a: F.leaky_relu(a, 0.1),
    "reciprocal": lambda a: 1 / (1.5 + a * a),
    "elu": F.elu,
    "softmax": lambda a: torch.softmax(a, -1),
    "layer_norm": lambda a: F.layer_norm(a, (HIDDEN,)),
    "group_norm": lambda a: F.group_norm(a, 2),
    "rms_norm": lambda a: a * torch.rsqrt(a.square().mean(-1, keepdim=True) + 0.1),
    "l2_norm": lambda a: a / (1 + a.norm(dim=-1, keepdim=True)),
    "less_mean": lambda a: a - a.mean(1, keepdim=True),
    "less_max": lambda a: a - a.amax(1, keepdim=True),
    "rotate": lambda a: torch.cat((a[:, 2:], a[:, :2]), 1),
    "shift": lambda a: torch.cat((a[:, -1:], a[:, :-1]), 1),  # counted from the end
    "halves": lambda a: torch.cat(a.chunk(2, 1)[::-1], 1),
    "ends": lambda a: torch.cat((a[:, :1], a[:, 1:5].tanh(), a[:, 5:]), 1),
    "sum": lambda a: a + 0.1 * a.sum(1, keepdim=True),
    "double": lambda a: -a * 2 + 1,
    "atan": torch.atan,
    "asinh": torch.asinh,
    "atanh": lambda a: torch.atanh(0.9 * torch.tanh(a)),
    "sinh": lambda a: torch.sinh(0.3 * a),
    "cosh": lambda a: torch.cosh(0.3 * a),
    "exp2": lambda a: torch.exp2(-a.abs()),
    "erfc": torch.special.erfc,
    "softshrink": lambda a: F.softshrink(a, 0.1),
    "softsign": F.softsign,
    "cumsum": lambda a: 0.3 * a.cumsum(1),
    "cumax": lambda a: torch.softmax(a, -1).cumsum(-1),
    "flip": lambda a: a.flip(1),
    "roll": lambda a: a.roll((2, -1), (1, 1)),
    "less_largest": lambda a: F.relu(a) - F.relu(a).max(1, keepdim=True).values,
    "less_least": lambda a: a - torch.min(a, 1)[0].unsqueeze(1),
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": lambda a: torch.tan(torch.tanh(a)),
    "asin": lambda a: torch.asin(0.9 * torch.tanh(a)),
    "acos": lambda a: torch.acos(0.9 * torch.tanh(a)),
    "acosh": lambda a: torch.acosh(1.5 + a * a),
    "log2": lambda a: torch.log2(1 + a * a),
    "log10": lambda a: torch.log10(1 + a * a),
    # 0.123: many values are whole but for their rounding, such as the sum of a softmax
    "floor": lambda a: a + 0.2 * torch.floor(2 * a + 0.123),
    "ceil": lambda a: a + 0.2 * torch.ceil(2 * a + 0.123),
    "trunc": lambda a: a + 0.2 * torch.trunc(2 * a + 0.123),
    "round": lambda a: a + 0.2 * torch.round(2 * a + 0.123),
    "not": lambda a: torch.where(torch.logical_not(a > 0.5), a, 0.5 * a),
}
BINARY = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": lambda a, b: a / (1 + b.abs()),
    "max": torch.maximum,
    "min": torch.minimum,
    "where": lambda a, b: torch.where(a > b, a, 0.5 * b),
    "lerp": lambda a, b: torch.lerp(a, b, 0.3),
    "gate": lambda a, b: torch.sigmoid(a) * b,
    "less": lambda a, b: (a < b).to(a.dtype) * a,
    "at_most": lambda a, b: torch.where(a <= b, a, 0.5 * b),
    "masked": lambda a, b: a.masked_fill(b > 0.5, 0.1),
    "atan2": lambda a, b: torch.atan2(a, 1.5 + b * b),
    "pow": lambda a, b: (1 + a.abs()) ** torch.tanh(b),
    "copysign": lambda a, b: torch.copysign(a, b + 0.123),
    "hypot": torch.hypot,
    "fmax": torch.fmax,
    "fmin": torch.fmin,
    "fmod": lambda a, b: torch.fmod(a + 0.123, 1.1 + b.abs()),
    "remainder": lambda a, b: torch.remainder(a + 0.123, 1.1 + b.abs()),
    "floordiv": lambda a, b: a + 0.2 * torch.div(a + 0.123, 1.1 + b.abs(), rounding_mode="floor"),
}


@dataclass(frozen=True)
class Node:
    """One operation of an odd step: its name, and which values it takes."""

    name: str
    first: int
    second: int


class Odd(torch.nn.Module):
    """A step over two states: the nodes in their order, over the inputs, the states and products of them."""

    def __init__(self, nodes: tuple[Node, ...], seed: int, *, returns_more: bool) -> None:
        super().__init__()
        self.nodes, self.returns_more = nodes, returns_more
        generator = torch.Generator().manual_seed(seed)
        draw = lambda *shape: torch.nn.Parameter(
            0.5 * torch.randn(*shape, generator=generator, dtype=torch.float64).float()
        )
        self.joint = draw(INPUT + HIDDEN, HIDDEN)
        self.inner = draw(HIDDEN, HIDDEN)
        self.diagonal, self.bias, self.scale = draw(HIDDEN), draw(HIDDEN), draw(1)

    def forward(self, x, state):
        hidden, memory = state
        values = [
            torch.cat((x, hidden), 1) @ self.joint + self.bias,
            hidden,
            memory * self.diagonal,
            self.scale * hidden + x.sum(1, keepdim=True),
        ]
        for node in self.nodes:
            a, b = values[node.first % len(values)], values[node.second % len(values)]
            if node.name == "product":
                values.append(a @ self.inner)
            elif node.name in UNARY:
                values.append(UNARY[node.name](a))
            else:
                values.append(BINARY[node.name](a, b))
        new = torch.tanh(values[-1]) + 0.1 * values[0]
        memory = 0.5 * memory + 0.1 * values[-2 % len(values)]
        y = (new, torch.softmax(memory, 1) * hidden) if self.returns_more else new
        return y, (new, memory)


nodes = st.builds(
    Node, st.sampled_from(["product", *sorted(UNARY), *sorted(BINARY)]), st.integers(0, 99), st.integers(0, 99)
)
odd_steps = st.builds(
    Odd, st.lists(nodes, min_size=1, max_size=7).map(tuple), st.integers(0, 99), returns_more=st.booleans()
)


_ROUNDING = ("floor", "ceil", "trunc", "round", "fmod", "remainder", "floordiv", "copysign", "not", "at_most")
_CURVES = ("cosh", "sin", "cos", "tan", "asin", "acos", "acosh", "log2", "log10", "atan2", "pow")
_NAMES = sorted({*UNARY, *BINARY} - {"add", *_ROUNDING, *_CURVES})
# some of those that are alike lie together, as the derivative of one amplifies the rounding of what it is given
GROUPS = [*(_NAMES[i::8] for i in range(8)), *(_ROUNDING[i::2] for i in range(2)), *(_CURVES[i::3] for i in range(3))]


def sum_of(names: list[str]) -> Odd:
    """Each operation over some of what a step begins with, and their sum."""
    found: list[Node] = []
    total = 0
    for i, name in enumerate(names):
        found.append(Node(name, i % 4, (i + 1) % 4))
        at = 3 + len(found)
        if i:
            found.append(Node("add", total, at))
        total = 3 + len(found)
    return Odd(tuple(found), 1, returns_more=True)
