"""The operations of random steps, by name: each takes and returns [batch, WIDTH]."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.engine import odd_steps

WIDTH = 6

# beside those of odd_steps
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

# which no fused loop holds, so that a step of them runs eagerly; a test compares
UNFUSED = {
    "topk", "sorted", "median", "other rows", "by rows", "rows", "softmax of rows", "strided", "index", "index_select",
    "as float", "as whole", "as bfloat16", "prod", "argmax", "cumprod", "logcumsumexp", "cummax", "unfold", "rot90",
    "conv", "complex", "outer", "whole", "gather", "scatter",
}  # fmt: skip


def _written(a: Tensor) -> Tensor:
    a = a + 0.0
    a[:, 1:3] = 0.2
    a[:, 4] += 0.5
    return a


def _put(a: Tensor, b: Tensor) -> Tensor:
    a = a.clone()
    a[:, 2:4] = b[:, :2]
    return a
