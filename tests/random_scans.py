"""Scans made at random: a step of random operations, states, inputs and options of random kinds; all from one number.

`drawn(seed)` gives a scan; `outcome(scan, engine)` runs it. The operations, layouts and options are tables, so that one
more of each is one more line.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import unrolled
from tests.engine import odd_steps

WIDTH = 6  # of each value of a step, [batch, WIDTH]
DOUBLE = torch.float64

# beside those of odd_steps; all take and give [batch, WIDTH]
ONE: dict[str, Callable[[Tensor], Tensor]] = odd_steps.UNARY | {
    "itself": lambda a: a,
    "view": lambda a: a.view(-1, 2, 3).flatten(1),
    "transposed": lambda a: a.view(-1, 2, 3).transpose(1, 2).reshape(-1, WIDTH),
    "strided": lambda a: torch.cat((a[:, ::2], a[:, 1::2]), 1),
    "first": lambda a: a[:, :1].expand(-1, WIDTH),
    "last": lambda a: a[:, -1:].repeat(1, WIDTH),
    "middle": lambda a: a.narrow(1, 2, 2).repeat_interleave(3, 1),
    "stacked": lambda a: torch.stack((a[:, :3], a[:, 3:]), 2).flatten(1),
    "unbound": lambda a: torch.stack(a.unbind(1)[::-1], 1),
    "select": lambda a: a.select(1, 2).unsqueeze(1) + a,
    "index": lambda a: a[:, [5, 0, 0, 3, 2, 1]],
    "index_select": lambda a: a.index_select(1, torch.tensor([1, 1, 0, 5, 4, 2])),
    "detached": lambda a: a.detach() * 0.5 + a,
    "half detached": lambda a: torch.cat((a[:, :3].detach(), a[:, 3:]), 1),
    "cloned": lambda a: a.clone().mul_(0.5).add_(0.1),
    "written": lambda a: _written(a),
    "as float": lambda a: a.float().to(a.dtype),
    "as whole": lambda a: (4 * a).clamp(-9, 9).int().to(a.dtype) * 0.1 + a,
    "as bool": lambda a: (a + 0.123).bool().to(a.dtype) * a,
    "as bfloat16": lambda a: a.bfloat16().to(a.dtype) * 0.1 + a,
    "constant": lambda a: torch.full_like(a, 0.3),
    "zeros": lambda a: a.new_zeros(a.shape),
    "arange": lambda a: a * torch.arange(WIDTH, dtype=a.dtype),
    "eye": lambda a: a @ torch.eye(WIDTH, dtype=a.dtype).flip(0),
    "triangle": lambda a: a @ torch.ones(WIDTH, WIDTH, dtype=a.dtype).tril() * 0.1,
    "var": lambda a: a - a.var(1, keepdim=True),
    "std": lambda a: a / (0.5 + a.std(1, keepdim=True, correction=0)),
    "var_mean": lambda a: sum(torch.var_mean(a, 1, keepdim=True)) + a,
    "amin amax": lambda a: sum(torch.aminmax(a, dim=1, keepdim=True)) + a,
    "prod": lambda a: a.tanh().prod(1, keepdim=True) + a,
    "logsumexp": lambda a: a - torch.logsumexp(a, 1, keepdim=True),
    "log_softmax": lambda a: torch.log_softmax(a, 1),
    "normalize": lambda a: F.normalize(a + 0.1, dim=1),
    "norm 1": lambda a: a / (1 + a.norm(p=1, dim=1, keepdim=True)),
    "norm 3": lambda a: a / (1 + torch.linalg.vector_norm(a, 3, 1, keepdim=True)),
    "any": lambda a: torch.where((a > 0.5).any(1, keepdim=True), a, 0.5 * a),
    "all": lambda a: torch.where((a > -0.5).all(1, keepdim=True), a, 0.5 * a),
    "argmax": lambda a: F.one_hot(a.argmax(1), WIDTH).to(a.dtype) * a,
    "topk": lambda a: a.topk(2, 1).values.repeat(1, 3),
    "sorted": lambda a: a.sort(1).values,
    "median": lambda a: a - a.median(1, keepdim=True).values,
    "cumprod": lambda a: a.tanh().cumprod(1),
    "logcumsumexp": lambda a: a.logcumsumexp(1) * 0.5,
    "cummax": lambda a: a.cummax(1).values,
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "mish": F.mish,
    "selu": F.selu,
    "celu": F.celu,
    "relu6": F.relu6,
    "threshold": lambda a: F.threshold(a, 0.1, 0.2),
    "glu": lambda a: F.glu(torch.cat((a, a.flip(1)), 1), 1),
    "tanhshrink": F.tanhshrink,
    "hardshrink": lambda a: F.hardshrink(a, 0.2),
    "logit": lambda a: torch.logit(a.sigmoid(), 1e-3),
    "erf": torch.erf,
    "expm1": lambda a: torch.expm1(-a.abs()),
    "log1p": lambda a: torch.log1p(a.abs()),
    "frac": lambda a: torch.frac(a + 0.123),
    "nan_to_num": lambda a: torch.nan_to_num(a),
    "cube": lambda a: 0.1 * a**3,
    "power": lambda a: (0.5 + a.abs()) ** 1.7,
    "base": lambda a: 2.0 ** (-a.abs()),
    "pad": lambda a: F.pad(a[:, 1:5], (1, 1), value=0.3),
    "unfold": lambda a: a.unfold(1, 3, 3).sum(2).repeat(1, 3),
    "masked": lambda a: a * torch.tensor([1.0, 0, 1, 0, 0, 1], dtype=a.dtype),
    "rot90": lambda a: a.view(-1, 2, 3).flip(2).flip(1).flatten(1),
    "by rows": lambda a: a - a.mean(0, keepdim=True),
    "other rows": lambda a: a.roll(1, 0),
    "rows": lambda a: a / a.shape[0],
    "softmax of rows": lambda a: torch.softmax(a, 0),
    "group_norm": lambda a: F.group_norm(a, 2),
    "group_norm of one": lambda a: F.group_norm(a, 3, eps=0.1),
    "conv": lambda a: F.avg_pool1d(a.unsqueeze(1), 3, 1, 1).squeeze(1),
    "exact": lambda a: a - a.mean(1, keepdim=True).detach(),
    "squeezed": lambda a: a.unsqueeze(0).squeeze(0).unsqueeze(-1).squeeze(-1),
    "sign of zero": lambda a: torch.copysign(a, a * 0.0 + 0.0),
    "where number": lambda a: torch.where(a > 0, a, 0.25),
    "clamp by tensor": lambda a: torch.clamp(
        a, min=-a.abs().mean(1, keepdim=True), max=torch.ones(WIDTH, dtype=a.dtype)
    ),
    "complex": lambda a: torch.view_as_real(torch.view_as_complex(a.view(-1, 3, 2).contiguous()) * 1j).flatten(1),
}
TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = odd_steps.BINARY | {
    "first of": lambda a, b: a,
    "second of": lambda a, b: b,
    "halves of": lambda a, b: torch.cat((a[:, :3], b[:, 3:]), 1),
    "outer": lambda a, b: torch.bmm(a.view(-1, 2, 3), b.view(-1, 3, 2)).repeat(1, 1, 3)[:, 0] * 0.3,
    "dot": lambda a, b: a * (a * b).sum(1, keepdim=True) * 0.2,
    "einsum": lambda a, b: torch.einsum("bi,bj->bij", a, b).sum(1) * 0.2,
    "einsum of three": lambda a, b: torch.einsum("bhi,bhi,bi->bh", a.view(-1, 2, 3), b.view(-1, 2, 3), a[:, :3]).repeat(
        1, 3
    ),
    "attention": lambda a, b: (torch.softmax(a.unsqueeze(2) * b.unsqueeze(1), 2) @ b.unsqueeze(2)).squeeze(2),
    "addcmul": lambda a, b: torch.addcmul(a, a, b, value=0.1),
    "addcdiv": lambda a, b: torch.addcdiv(a, b, 1.5 + a * a, value=0.1),
    "alpha": lambda a, b: torch.add(a, b, alpha=0.3),
    "logaddexp": torch.logaddexp,
    "cosine": lambda a, b: F.cosine_similarity(a + 0.1, b + 0.1, 1).unsqueeze(1) + a,
    "distance": lambda a, b: (a - b).square().sum(1, keepdim=True).sqrt() * 0.1 + a,
    "mse": lambda a, b: F.mse_loss(a, b, reduction="none"),
    "huber": lambda a, b: F.smooth_l1_loss(a, b, reduction="none"),
    "xor": lambda a, b: ((a > 0) ^ (b > 0)).to(a.dtype) + a,
    "and": lambda a, b: torch.where((a > 0) & ~(b > 0), a, b * 0.5),
    "whole": lambda a, b: ((4 * a).long().clamp(-9, 9) * (3 * b).long().clamp(-9, 9) // 2).to(a.dtype) * 0.05,
    "shifted": lambda a, b: torch.cat((b[:, 1:], a[:, :1]), 1),
    "where bool": lambda a, b: torch.where((a * b).bool(), a, b),
    "eq": lambda a, b: (a == b).to(a.dtype) + b,
    "gather": lambda a, b: a.gather(1, (b.abs() * 2).long().clamp(0, 5)),
    "write": lambda a, b: _put(a, b),
    "scatter": lambda a, b: a.scatter(1, (b.abs() * 2).long().clamp(0, 5)[:, :1], 0.5),
    "lerp by tensor": lambda a, b: torch.lerp(a, b, torch.sigmoid(a)),
    "xlogy": lambda a, b: torch.xlogy(a, 1 + b.abs()),
    "ldexp": lambda a, b: a * torch.exp2(b.clamp(-2, 2)),
    "layer_norm by": lambda a, b: F.layer_norm(a, (WIDTH,)) * b,
}

# of which a fused loop has none, as it says
UNFUSED = {"topk", "sorted", "median", "other rows", "by rows", "rows", "softmax of rows"}


def _written(a: Tensor) -> Tensor:
    a = a + 0.0
    a[:, 1:3] = 0.2
    a[:, 4] += 0.5
    return a


def _put(a: Tensor, b: Tensor) -> Tensor:
    a = a.clone()
    a[:, 2:4] = b[:, :2]
    return a


# shapes of a state's leaf beside the batch, and its dtype (None: the scan's own)
STATES: list[tuple[tuple[int, ...], torch.dtype | None]] = [
    *[((WIDTH,), None)] * 6, ((2, 3), None), ((1,), None), ((), None), ((2, 1, 3), None), ((WIDTH,), torch.int64), ((3,), torch.bool),
    ((), torch.int32), ((0,), None),
]  # fmt: skip
INPUTS: list[tuple[tuple[int, ...], torch.dtype | None]] = [
    *[((WIDTH,), None)] * 4, ((3,), None), ((2, 3), None), ((), None), ((1,), None), ((WIDTH,), torch.int64), ((), torch.bool), ((), torch.int64),
    ((2,), torch.uint8), ((0,), None),
]  # fmt: skip
ODD_DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.complex128]


def as_value(leaf: Tensor, dtype: torch.dtype) -> Tensor:
    """A leaf [batch, ...] as a value of a step [batch, WIDTH]."""
    leaf = leaf.real if leaf.is_complex() else leaf
    leaf = leaf.to(dtype) if leaf.dtype != dtype else leaf
    if leaf.dim() == 1:
        leaf = leaf.unsqueeze(1)
    leaf = leaf.flatten(1)
    if leaf.shape[1] == 0:
        return leaf.sum(1, keepdim=True).expand(-1, WIDTH)
    return leaf if leaf.shape[1] == WIDTH else torch.cat([leaf] * WIDTH, 1)[:, :WIDTH]


def as_leaf(value: Tensor, like: Tensor) -> Tensor:
    """A value as a new leaf of a state."""
    if like.dtype == torch.bool:
        value = value > 0.1
    elif not like.is_floating_point() and not like.is_complex():
        value = (3 * value).clamp(-20, 20)
    width = like[0].numel() if like.shape[0] else like.flatten(1).shape[1] if like.dim() > 1 else 1
    return value[:, :width].reshape(like.shape).to(like.dtype)


@dataclass
class Step:
    """The operations of a step in their order, what it returns, and the tensors that it holds."""

    nodes: list[tuple[str, int, int]]
    news: list[tuple[str, int]]
    ys: list[tuple[str, int]]
    ys_form: str
    held: list[Tensor]
    dtype: torch.dtype

    def __call__(self, x: Any, state: Any) -> Any:
        xs, states = pytree.tree_leaves(x), pytree.tree_leaves(state)
        values = [as_value(leaf, self.dtype) for leaf in (*xs, *states)]
        weight, bias, by_row = self.held
        values.append(values[0] @ weight + bias)
        for name, first, second in self.nodes:
            a, b = values[first % len(values)], values[second % len(values)]
            if name == "product":
                values.append(a @ weight)
            elif name == "linear":
                values.append(F.linear(torch.cat((a, b), 1), torch.cat((weight, weight.t()), 1), bias))
            elif name == "by row":
                values.append(a * by_row)
            else:
                values.append(ONE[name](a) if name in ONE else TWO[name](a, b))
        pick = lambda i: values[-1 - i % len(values)]
        new = []
        for place, (kind, i) in enumerate(self.news):
            old = states[place]
            if kind == "same":
                new.append(old)
            elif kind == "other":  # of the same shape and dtype, else itself
                like = [s for s in states if s.shape == old.shape and s.dtype == old.dtype]
                new.append(like[i % len(like)])
            elif kind == "input":
                like = [s for s in xs if s.shape == old.shape and s.dtype == old.dtype] or [old]
                new.append(like[i % len(like)])
            else:
                new.append(as_leaf(torch.tanh(pick(i)) if kind == "new" else pick(i).clamp(-3, 3), old))
        ys = []
        for kind, i in self.ys:
            source = {"value": values, "state": states, "new": new, "input": xs}[kind]
            y = source[-1 - i % len(source)]
            ys.append(y)
        y = {
            "one": ys[0],
            "tuple": tuple(ys),
            "dict": dict(zip("cabd", ys, strict=False)),
            "nested": [ys[0], {"z": tuple(ys)}],
        }[self.ys_form]
        return y, pytree.tree_unflatten(new, pytree.tree_structure(state))


# how a base tensor, with its gradient, becomes an argument; the last axis is never the batch
LAYOUTS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "plain": lambda a, _: a,
    "turned": lambda a, axis: a.transpose(0, -1).contiguous().transpose(0, -1) if a.dim() > 1 else a,
    "each other": lambda a, axis: torch.stack((a, a), -1)[..., 0],
    "offset": lambda a, _: torch.cat((a.reshape(-1)[:1], a.reshape(-1)))[1:].view(a.shape) if a.numel() else a,
    "one row": lambda a, axis: a.narrow(axis, 0, 1).expand(a.shape) if a.shape[axis] else a,
    "one number": lambda a, axis: a.reshape(-1)[:1].view((1,) * a.dim()).expand(a.shape) if a.numel() else a,
    "one width": lambda a, _: a[..., :1].expand(a.shape) if a.dim() > 1 and a.numel() else a,
    "overlapping": lambda a, _: a.flatten().as_strided(a.shape, [1] * a.dim()) if a.numel() else a,
    "backwards": lambda a, axis: a.flip(axis).flip(axis),
    "negated": lambda a, _: torch._neg_view(a) if a.is_floating_point() else a,
    "conjugated": lambda a, _: (
        torch.view_as_complex(torch.stack((a, a), -1)).conj().imag if a.is_floating_point() else a
    ),
    "batch first": lambda a, axis: a.transpose(0, 1).contiguous().transpose(0, 1) if a.dim() > 1 else a,
}
AROUND = ["plain"] * 6 + [
    "no_grad",
    "inference",
    "double",
    "autocast",
    "checkpoint",
    "batched grads",
    "vmap",
    "jvp",
    "inference made",
]


@dataclass
class Scan:
    """A scan, as drawn."""

    seed: int
    step: Step
    x_bases: list[Tensor]
    x_layouts: list[str]
    x_form: str
    state_bases: list[Tensor]
    state_layouts: list[str]
    state_form: str
    wanted: list[Tensor] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    around: str = "plain"
    aliases: str = ""
    noise: torch.Generator | None = None  # by which the mixtures of its outputs are moved too


FORMS = {
    "one": lambda leaves: leaves[0],
    "tuple": tuple,
    "list": list,
    "dict": lambda leaves: dict(zip("badc", leaves, strict=False)),
    "nested": lambda leaves: {"h": leaves[:1], "c": (leaves[1:], ())},
}


def drawn(seed: int) -> Scan:
    """The scan of this number."""
    r, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    dtype = r.choice([DOUBLE] * 8 + [torch.float32] * 3 + [torch.bfloat16])
    is_odd = r.random() < 0.15  # of kinds that a fused loop does not take
    time, batch = (
        r.choice([1, 1, 2, 3, 3, 4, 7, 0 if is_odd else 5]),
        r.choice([1, 1, 2, 3, 3, 5, 6, 0 if is_odd else 4]),
    )

    def number(shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
        numbers = torch.randn(shape, generator=generator, dtype=DOUBLE)
        return (numbers * 3).to(kind) if not kind.is_floating_point and not kind.is_complex else numbers.to(kind)

    def leaves(table: list, lead: tuple[int, ...], most: int, is_usual: Callable) -> list[Tensor]:
        n = r.choice([1, 1, 2, 2, 3, most])
        found = [r.choice(table if is_odd else [each for each in table if is_usual(each)]) for _ in range(n)]
        kinds = [
            r.choice(ODD_DTYPES) if kind is None and is_odd and r.random() < 0.1 else kind or dtype for _, kind in found
        ]
        made = [number((*lead, *shape), kind) for (shape, _), kind in zip(found, kinds, strict=True)]
        return [each.requires_grad_(each.dtype.is_floating_point and r.random() < 0.75) for each in made]

    xs = leaves(INPUTS, (time, batch), 3, lambda each: each[0] != (0,))
    states = leaves(STATES, (batch,), 4, lambda each: each[1] is None and each[0] != (0,))
    held = [number((WIDTH, WIDTH), dtype) * 0.3, number((WIDTH,), dtype), number((batch, r.choice([1, WIDTH])), dtype)]
    held = [each.requires_grad_(r.random() < 0.7) for each in held]
    names = ["product", "linear", "by row", *ONE, *TWO]
    names = names if is_odd else [name for name in names if name not in UNFUSED]
    nodes = [(r.choice(names), r.randrange(99), r.randrange(99)) for _ in range(r.choice([0, 1, 2, 3, 4, 6, 9]))]
    kinds = ["new"] * 5 + ["bounded", "same", "other", "input"]
    news = [(r.choice(kinds), r.randrange(99) if r.random() < 0.4 else 0) for _ in states]
    form = r.choice(["one", "one", "tuple", "dict", "nested"])
    n_ys = 1 if form == "one" else r.choice([1, 2, 3])
    ys = [
        (r.choice(["value", "value", "new", "state", "input"]), r.randrange(99) if r.random() < 0.5 else 0)
        for _ in range(n_ys)
    ]
    layouts = lambda n: [r.choice(list(LAYOUTS)) if r.random() < 0.35 else "plain" for _ in range(n)]
    a_form = lambda n: r.choice(["one", "one", "tuple"] if n == 1 else ["tuple", "tuple", "list", "dict", "nested"])
    scan = Scan(
        seed, Step(nodes, news, ys, form, held, dtype), xs, layouts(len(xs)), a_form(len(xs)), states,
        layouts(len(states)), a_form(len(states)), wanted=[*xs, *states, *held],
    )  # fmt: skip
    scan.wanted = [each for each in scan.wanted if each.requires_grad]
    options: dict[str, Any] = {"reverse": r.random() < 0.3, "recompute": r.random() < 0.15}
    if r.random() < 0.35:
        options["lengths"] = torch.randint(0, time + 1, (batch,), generator=generator)
    if r.random() < 0.25:
        options["resets"] = torch.rand(time, batch, generator=generator) < 0.3
    scan.around = r.choice(AROUND)
    if r.random() < 0.2 and scan.around not in ("double", "batched grads"):  # which the fused loop refuses
        options["clip_state_grad"] = r.choice([0.01, 0.3, 1e9, 1])
    scan.options = options
    if r.random() < 0.15:
        scan.aliases = r.choice(["state of inputs", "one state twice", "one input twice", "state is held"])
    return scan


def arguments(scan: Scan) -> tuple[Any, Any]:
    """Inputs and state, of the bases; they may share memory."""
    xs = [LAYOUTS[name](base, 1) for base, name in zip(scan.x_bases, scan.x_layouts, strict=True)]
    states = [LAYOUTS[name](base, 0) for base, name in zip(scan.state_bases, scan.state_layouts, strict=True)]
    like = lambda a, b: a.shape == b.shape and a.dtype == b.dtype
    if scan.aliases == "state of inputs" and len(xs[0]) and like(xs[0][-1], states[0]):
        states[0] = xs[0][-1]
    if scan.aliases == "one state twice":
        states = [states[0] if like(each, states[0]) else each for each in states]
    if scan.aliases == "one input twice":
        xs = [xs[0] if like(each, xs[0]) else each for each in xs]
    if scan.aliases == "state is held" and like(scan.step.held[2], states[0]):
        states[0] = scan.step.held[2]
    return FORMS[scan.x_form](xs), FORMS[scan.state_form](states)


def moved(scan: Scan, seed: int) -> Scan:
    """The same scan, in place, with its numbers and those of its mixtures moved by about two rounding units.

    The mixtures are where gradients begin: of `a - logsumexp(a)` over equal numbers all gradients cancel, whatever the
    numbers are, and only another beginning shows how they are rounded.
    """
    scan.noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in (*scan.x_bases, *scan.state_bases, *scan.step.held):
            if each.is_floating_point():
                each.copy_(_moved(each, scan))
    return scan


def _moved(numbers: Tensor, scan: Scan) -> Tensor:
    if scan.noise is None:
        return numbers
    noise = torch.randn(numbers.shape, generator=scan.noise, dtype=DOUBLE)
    return (numbers.double() * (1 + 2 * torch.finfo(scan.step.dtype).eps * noise)).to(numbers.dtype)


def mixture(outputs: list[Tensor], scan: Scan, seed: int = 7) -> Any:
    """A fixed mixture of outputs that have a gradient."""
    total: Any = 0
    for i, out in enumerate(outputs):
        if out is None:
            continue
        generator = torch.Generator().manual_seed(seed + i)
        numbers = _moved(torch.randn(out.shape, generator=generator, dtype=DOUBLE), scan)
        if out.requires_grad and (out.is_floating_point() or out.is_complex()):
            out = out.real if out.is_complex() else out
            total = total + (out.double() * numbers).sum()
    return total


def run(scan: Scan, engine: str) -> list[Any]:
    """Outputs, whether each has a gradient, and gradients of all that was asked for (None where there is none)."""
    xs, state = arguments(scan)
    call = lambda xs, state: unrolled.scan(scan.step, xs, state, engine=engine, **scan.options)
    return _AROUND.get(scan.around, _plain)(call, xs, state, scan)


def _plain(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    outputs = pytree.tree_leaves(call(xs, state))
    total = mixture(outputs, scan)
    flags = [out.requires_grad for out in outputs]
    wanted = scan.wanted if isinstance(total, Tensor) else []
    found = torch.autograd.grad(total, wanted, allow_unused=True) if wanted else []
    return [*(out.detach() for out in outputs), str(flags), *found]


def _double(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    outputs = pytree.tree_leaves(call(xs, state))
    total = mixture(outputs, scan)
    if not isinstance(total, Tensor) or not scan.wanted:
        return [out.detach() for out in outputs]
    first = torch.autograd.grad(total, scan.wanted, allow_unused=True, create_graph=True)
    second_total = mixture(first, scan, 8)
    second = []
    if isinstance(second_total, Tensor):
        second = torch.autograd.grad(second_total, scan.wanted, allow_unused=True)
    first = [None if each is None else each.detach() for each in first]
    second = [torch.zeros_like(w) if g is None else g for g, w in zip(second, scan.wanted, strict=False)]
    return [*(out.detach() for out in outputs), *first, *second]


def _batched(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    outputs = pytree.tree_leaves(call(xs, state))
    total = mixture(outputs, scan)
    if not isinstance(total, Tensor) or not scan.wanted:
        return [out.detach() for out in outputs]
    directions = torch.tensor([1.0, -2.0], dtype=DOUBLE)
    return list(torch.autograd.grad(total, scan.wanted, directions, allow_unused=True, is_grads_batched=True))


def _checkpoint(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    again = lambda xs, state: torch.utils.checkpoint.checkpoint(call, xs, state, use_reentrant=False)
    return _plain(again, xs, state, scan)


def _within(context: Callable) -> Callable:
    def around(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
        def within(xs: Any, state: Any) -> Any:
            with context():
                return call(xs, state)

        return _plain(within, xs, state, scan)

    return around


def _vmap(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    double = lambda tree: pytree.tree_map(lambda leaf: torch.stack((leaf, leaf)).detach(), tree)
    return pytree.tree_leaves(torch.func.vmap(call)(double(xs), double(state)))


def _jvp(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    with torch.autograd.forward_ad.dual_level():
        dual = lambda leaf: (
            torch.autograd.forward_ad.make_dual(leaf, torch.ones_like(leaf)) if leaf.is_floating_point() else leaf
        )
        outputs = pytree.tree_leaves(call(*pytree.tree_map(dual, (xs, state))))
        return [each for out in outputs for each in torch.autograd.forward_ad.unpack_dual(out)]


def _inference_made(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    with torch.inference_mode():
        xs, state = pytree.tree_map(torch.clone, (xs, state))
    with torch.no_grad():
        first = pytree.tree_leaves(call(xs, state))
    return [*first, str([out.is_inference() for out in first])]


def _inference(call: Callable, xs: Any, state: Any, scan: Scan) -> list[Any]:
    with torch.inference_mode():
        outputs = pytree.tree_leaves(call(xs, state))
        return [out.clone() for out in outputs]


_AROUND: dict[str, Callable] = {
    "no_grad": _within(torch.no_grad),
    "inference": _inference,
    "inference made": _inference_made,
    "autocast": _within(lambda: torch.autocast("cpu", torch.bfloat16)),
    "double": _double,
    "batched grads": _batched,
    "checkpoint": _checkpoint,
    "vmap": _vmap,
    "jvp": _jvp,
}
