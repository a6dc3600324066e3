"""Parts of steps that hardly fit a compiled loop: `STEPS`, name → (part `(y, h) -> y`, what a reason must say of it)."""

import contextlib
import ctypes
import functools
import math
import operator
import queue
import re
import threading
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from tests.guard.checks import HIDDEN, INPUT
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import unrolled

STEPS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str]] = {}
CONSTANT = torch.linspace(0.1, 1, HIDDEN, dtype=torch.float64)
WEIGHT = torch.randn(INPUT, HIDDEN, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def step(words: str = "") -> Callable:
    """A part of a step, `(y, h) -> y`, and what a reason must say."""

    def put(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        STEPS[function.__name__] = function, words
        return function

    return put


# branches on values
@step("branch|value")
def if_sum(y, h):
    return torch.tanh(y) if y.sum() > 0 else torch.sigmoid(y)


@step("branch|value")
def if_any(y, h):
    if (y > 0.5).any():
        y = y * 0.5
    return y


@step("branch|value|exception|assert")
def assert_on_a_value(y, h):
    assert torch.isfinite(y).all()
    return torch.tanh(y)


@step("branch|value|exception|assert")
def assert_on_a_value_with_text(y, h):
    assert torch.isfinite(y).all(), "not finite"
    return torch.tanh(y)


@step("branch|value|number")
def while_loop_on_a_value(y, h):
    while y.abs().max() > 1:
        y = y / 2
    return y


@step("branch|value|number")
def early_return_on_a_value(y, h):
    if y.mean() > 0:
        return torch.tanh(y)
    return torch.sigmoid(y) + 1


@step("branch|value|number")
def comparison_in_python(y, h):
    return y * max(0.5, y.abs().max().item())


@step("branch|value|number")
def and_of_values(y, h):
    return torch.tanh(y) if y.sum() > 0 and h.sum() > 0 else y


@step("branch|value|number")
def not_of_a_value(y, h):
    return torch.tanh(y) if not y.sum() > 0 else y


@step("branch|value|number")
def sorted_by_value(y, h):
    return sum(sorted([y, -y], key=lambda t: t.sum().item()))[..., :HIDDEN] + max(y, -y, key=lambda t: t[0, 0].item())


@step("branch|value|number")
def all_close(y, h):
    return torch.tanh(y) if torch.allclose(y, h) else torch.sigmoid(y)


@step("branch|value|number")
def torch_equal(y, h):
    return torch.tanh(y) if torch.equal(y, h) else torch.sigmoid(y)


@step()
def where_instead(y, h):
    return torch.where(y.sum() > 0, torch.tanh(y), torch.sigmoid(y))


@step()
def conditional_of_torch(y, h):
    return torch.where((y.sum(1, keepdim=True) > 0).expand_as(y), torch.tanh(y), torch.sigmoid(y))


# numbers off tensors
@step("number|value")
def item(y, h):
    return y * math.tanh(y.sum().item())


@step("number|value")
def item_of_a_constant(y, h):
    return y * CONSTANT[0].item()


@step("number|value")
def to_list(y, h):
    return y + torch.tensor(y.mean(0).tolist(), dtype=y.dtype)


@step("number|value")
def float_of_a_tensor(y, h):
    return y * float(y.detach().max())


@step("number|value")
def int_of_a_tensor(y, h):
    return y + int(y.detach().abs().max() * 3)


@step("item")
def index_by_a_value(y, h):
    return y + y[:, int(y.abs().sum().item()) % HIDDEN].unsqueeze(1)


@step("text")
def text_of_a_tensor(y, h):
    return y * len(f"{y.sum():.0f}")


@step("number|value|numpy")
def to_numpy(y, h):
    return y + torch.from_numpy(np.tanh(y.detach().numpy()))


@step("number|value|numpy")
def numpy_function_of_a_constant(y, h):
    return y * float(np.sqrt(CONSTANT.numpy()).sum())


@step()
def numpy_constant(y, h):
    return y + torch.as_tensor(np.linspace(0, 1, HIDDEN))


@step("number|value|shape|size")
def nonzero(y, h):
    return y + (y > 0).nonzero().sum() * 0.1


@step("number|value|shape|size")
def boolean_index(y, h):
    return y + y[y > 0].sum()


@step("number|value|shape|size")
def unique(y, h):
    return y + torch.unique((y * 2).round()).numel() * 0.1


@step("")
def boolean_assignment(y, h):
    y = y.clone()
    y[y > 0.5] = 0.5
    return y


# in place
@step("")
def in_place_on_a_temporary(y, h):
    return y.mul_(0.5).tanh_()


@step("")
def in_place_on_a_slice(y, h):
    y = y.clone()
    y[:, :2] *= 0.5
    return y


@step("")
def in_place_by_out(y, h):
    with torch.no_grad():
        result = torch.empty_like(y)
        torch.tanh(y.detach(), out=result)
    return y + result


@step("")
def copy_into(y, h):
    kept = torch.zeros_like(y)
    kept.copy_(y)
    return kept.add_(h)


@step("")
def index_put(y, h):
    return y.index_add(1, torch.tensor([0, 1]), h[:, :2])


@step("")
def scatter(y, h):
    return y.scatter(1, y.argmax(1, keepdim=True), 0.5)


# gradients
@step("grad|detach")
def no_grad_inside(y, h):
    with torch.no_grad():
        scale = y.norm(dim=1, keepdim=True)
    return y / (1 + scale)


@step("grad")
def no_grad_decorator(y, h):
    @torch.no_grad()
    def scale():
        return y.norm(dim=1, keepdim=True)

    return y / (1 + scale())


@step("grad|inference")
def inference_mode_inside(y, h):
    with torch.inference_mode():
        n = y.shape[1]
    return y / n


@step("grad")
def gradients_set_off_and_on(y, h):
    torch.set_grad_enabled(False)
    scale = y.norm()
    torch.set_grad_enabled(True)
    return y * scale


@step("")
def detached(y, h):
    return y + h.detach()


@step("")
def detached_data(y, h):
    return y + 0.5 * h.data


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y):
        return torch.sign(y)

    @staticmethod
    def backward(ctx, gradient):
        return 0.5 * gradient


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y, rate):
        ctx.rate = rate
        ctx.save_for_backward(y)
        return y.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.rate * gradient * ctx.saved_tensors[0], None


class Marked(torch.autograd.Function):
    @staticmethod
    def forward(y):
        return y * 2

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 3 * ctx.saved_tensors[0]


@step("")
def straight_through(y, h):
    return Straight.apply(y) + h


@step("")
def reversed_gradient(y, h):
    return Reversed.apply(y, 0.3)


@step("")
def function_with_a_context_of_its_own(y, h):
    return Marked.apply(y)


@step("")
def straight_through_by_detach(y, h):
    return y + (torch.sign(y) - y).detach()


@step("")
def gradient_within_the_step(y, h):
    with torch.enable_grad():
        point = h.detach().requires_grad_()
        (slope,) = torch.autograd.grad(torch.tanh(point).sum(), point)
    return y * slope


@step("")
def functional_gradient(y, h):
    return y + torch.func.grad(lambda point: torch.tanh(point).square().sum())(h)


@step("")
def mapped_over_rows(y, h):
    return torch.func.vmap(lambda row: torch.softmax(row, 0))(y)


@step("")
def checkpointed(y, h):
    return checkpoint(torch.tanh, y, use_reentrant=False)


@step("hook")
def hook_on_a_tensor(y, h):
    if y.requires_grad:
        y.register_hook(lambda gradient: gradient * 0.5)
    return torch.tanh(y)


@step("")
def retained_gradient(y, h):
    y = torch.tanh(y)
    if y.requires_grad:
        y.retain_grad()
    return y


@step("")
def requires_grad_asked(y, h):
    return torch.tanh(y) if y.requires_grad else torch.sigmoid(y)


# kinds of numbers
@step("")
def complex_numbers(y, h):
    return torch.fft.ifft(torch.fft.fft(y) * torch.exp(1j * CONSTANT)).real


@step("")
def complex_view(y, h):
    return torch.view_as_real(torch.view_as_complex(y.view(len(y), 2, 2)) * (0.5 + 0.5j)).reshape(len(y), 4)


@step("")
def polar(y, h):
    return torch.polar(y, h).abs() + torch.polar(y.abs(), h).real


@step("")
def half_precision_inside(y, h):
    return torch.tanh(y.half()).to(y.dtype)


@step("")
def single_precision_inside(y, h):
    return torch.tanh(y.float()).to(y.dtype)


@step("")
def integers_inside(y, h):
    return (y * 3).long().clamp(-2, 2).to(y.dtype) + y


@step("")
def booleans_inside(y, h):
    return ((y > 0) & (h < 0.5) | (y < -0.5)).to(y.dtype) * y


@step("")
def shifts(y, h):
    return y + ((y.abs() * 10).int() << 1 & 3).to(y.dtype)


@step("")
def quantized(y, h):
    return torch.fake_quantize_per_tensor_affine(y.float(), 0.1, 0, -8, 7).to(y.dtype)


@step("")
def sparse(y, h):
    return torch.sparse.mm(torch.eye(HIDDEN, dtype=y.dtype).to_sparse(), y.t()).t()


# control flow of Python
@step("")
def tried_and_caught(y, h):
    try:
        raise ValueError("never mind")
    except ValueError:
        return torch.tanh(y)


@step("")
def tried_finally(y, h):
    try:
        y = torch.tanh(y)
    finally:
        y = y * 0.5
    return y


@step("")
def missing_attribute_caught(y, h):
    try:
        return y.no_such_method()
    except AttributeError:
        return torch.sigmoid(y)


@step("")
def shape_error_caught(y, h):
    try:
        return y @ y
    except RuntimeError:
        return torch.sigmoid(y)


@step("")
def suppressed(y, h):
    with contextlib.suppress(KeyError):
        y = y * {"a": 1}["b"]
    return torch.sigmoid(y)


@step("")
def recursion(y, h):
    def again(y, n):
        return y if n == 0 else again(torch.tanh(y) + 0.1 * n, n - 1)

    return again(y, 4)


@step("")
def nested_functions(y, h):
    def outer(scale):
        def inner(y):
            return torch.tanh(scale * y)

        return inner

    return outer(0.5)(outer(2.0)(y))


@step("")
def while_loop(y, h):
    n = 3
    while n:
        y, n = torch.tanh(y), n - 1
    return y


@step("")
def for_else(y, h):
    for i in range(3):
        if i == 5:
            break
        y = torch.tanh(y + i)
    else:
        y = y * 0.5
    return y


@step("")
def comprehension(y, h):
    return sum(torch.tanh(y * k) for k in (0.5, 1.0, 2.0))


@step("")
def folded(y, h):
    return functools.reduce(lambda a, k: torch.tanh(a * k), (0.5, 2.0, 0.3), y)


@step("")
def mapped(y, h):
    return sum(map(operator.mul, [y, h], [0.5, 0.25]))


@step("")
def starred(y, h):
    first, *rest = y.unbind(1)
    return torch.stack([*rest, first], 1)


@step("")
def walrus(y, h):
    return (z := torch.tanh(y)) * z


@step("")
def generator_of_its_own(y, h):
    def parts():
        yield torch.tanh(y)
        yield torch.sigmoid(h)

    return sum(parts())


@step("")
def dictionary_of_its_own(y, h):
    kept: dict[str, Tensor] = {}
    for name, value in (("a", y), ("b", h)):
        kept.setdefault(name, torch.tanh(value))
    return kept["a"] + kept["b"]


@step("")
def class_within_the_step(y, h):
    class Scaled:
        def __init__(self, by):
            self.by = by

        def __matmul__(self, other):
            return other * self.by

    return Scaled(0.5) @ y


@step("")
def context_manager(y, h):
    @contextlib.contextmanager
    def scaled():
        yield 0.5

    with scaled() as scale:
        return y * scale


@step("")
def a_lambda_with_a_default(y, h):
    return [lambda y, k=k: y * k for k in (0.5, 2.0)][1](y)


@step("")
def eval_inside(y, h):
    return eval("torch.tanh(y) * 0.5", {"torch": torch, "y": y})


@step("")
def exec_inside(y, h):
    names = {"y": y, "torch": torch}
    exec("z = torch.tanh(y)", names)
    return names["z"]


@step("")
def locals_inside(y, h):
    scale = 0.5
    return y * locals()["scale"]


@step("")
def import_inside(y, h):
    import math as arithmetic

    return y * arithmetic.pi


# Python and C beside torch
@step("")
def c_function(y, h):
    return y * ctypes.c_double(0.5).value


@step("")
def a_lock(y, h, lock=threading.Lock()):  # noqa: B008
    with lock:
        return torch.tanh(y)


@step("")
def a_queue(y, h, kept=queue.Queue()):  # noqa: B008
    kept.put(0.5)
    return y * kept.get()


@step("")
def clock(y, h):
    return y + 0 * time.perf_counter()


@step("")
def thread(y, h):
    results: list[Tensor] = []
    worker = threading.Thread(target=lambda: results.append(torch.tensor(0.5, dtype=y.dtype)))
    worker.start()
    worker.join()
    return y * results[0]


@step("")
def hash_of_a_text(y, h):
    return y * (hash("a") % 7)


@step("")
def regular_expression(y, h):
    return y * len(re.findall("a", "banana"))


@step("")
def warning_caught(y, h):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.tanh(y)


# modules of torch that are no plain arithmetic
LSTM = nn.LSTMCell(HIDDEN, HIDDEN).double()
GRU = nn.GRU(HIDDEN, HIDDEN, batch_first=True).double()
ATTENTION = nn.MultiheadAttention(HIDDEN, 2, batch_first=True).double().eval()
CONVOLUTION = nn.Conv1d(1, 1, 3, padding=1).double()
BILINEAR = nn.Bilinear(HIDDEN, HIDDEN, HIDDEN).double()
TRANSFORMER = nn.TransformerEncoderLayer(HIDDEN, 2, 8, batch_first=True).double().eval()
BAG = nn.EmbeddingBag(10, HIDDEN).double()


@step("")
def cell_of_torch(y, h):
    return LSTM(y, (h, h))[0]


@step("")
def layer_of_torch(y, h):
    return GRU(y.unsqueeze(1))[0].squeeze(1)


@step("")
def scan_in_a_scan(y, h):
    return unrolled.scan(lambda x, s: (s, torch.tanh(s + x)), y.t().unsqueeze(2), h[:, :1])[1] + y


CELL = unrolled.cells.GRU(HIDDEN, HIDDEN).double()


@step("")
def cell_of_ours(y, h):
    return CELL(y, h)[0]


@step("")
def attention(y, h):
    return ATTENTION(y.unsqueeze(1), h.unsqueeze(1), h.unsqueeze(1))[0].squeeze(1)


@step("")
def transformer(y, h):
    return TRANSFORMER(torch.stack((y, h), 1))[:, 0]


@step("")
def dot_product_attention(y, h):
    return F.scaled_dot_product_attention(y.unsqueeze(1), h.unsqueeze(1), h.unsqueeze(1)).squeeze(1)


@step("")
def convolution(y, h):
    return CONVOLUTION(y.unsqueeze(1)).squeeze(1)


@step("")
def bilinear(y, h):
    return BILINEAR(y, h)


@step("")
def embedding_bag(y, h):
    return BAG((y.abs() * 3).long().clamp(0, 9))


@step("")
def group_norm(y, h):
    return F.group_norm(y, 2)


@step("")
def batch_statistics(y, h):
    return (y - y.mean(0)) / (1 + y.var(0, correction=0))


@step("")
def largest_with_its_place(y, h):
    values, places = y.max(1, keepdim=True)
    return y - values + 0.1 * places


@step("")
def best_few(y, h):
    return y.topk(HIDDEN, 1)[0]


@step("")
def sorting(y, h):
    return y.sort(1, descending=True)[0]


@step("")
def gather(y, h):
    return y.gather(1, h.argsort(1))


@step("")
def linear_solve(y, h):
    return torch.linalg.solve(torch.eye(HIDDEN, dtype=y.dtype) * 2, y.t()).t()


@step("")
def singular_values(y, h):
    return y + torch.linalg.svdvals(torch.ones(HIDDEN, HIDDEN, dtype=y.dtype))


@step("")
def eigenvalues(y, h):
    return y + torch.linalg.eigvalsh(torch.eye(HIDDEN, dtype=y.dtype))


@step("")
def matrix_of_the_state(y, h):
    return torch.bmm(h.unsqueeze(2) * h.unsqueeze(1), y.unsqueeze(2)).squeeze(2)


@step("")
def cosine(y, h):
    return y * F.cosine_similarity(y, h, 1).unsqueeze(1)


@step("")
def cosine_of_short_rows(y, h):
    return y * F.cosine_similarity(y, h, 1, 10.0).unsqueeze(1) + F.cosine_similarity(
        y, torch.ones_like(h), dim=-1, eps=0.7
    ).unsqueeze(1)


@step("")
def distances(y, h):
    return y + torch.cdist(y, h).mean(1, keepdim=True)


@step("")
def interpolated(y, h):
    return F.interpolate(y.unsqueeze(1), size=HIDDEN * 2, mode="linear").squeeze(1)[:, ::2]


@step("")
def padded(y, h):
    return F.pad(y, (1, 0))[:, :HIDDEN] + F.pad(h, (1, 1), mode="circular")[:, :HIDDEN]


@step("")
def unfolded(y, h):
    return F.pad(y, (2, 0)).unfold(1, 3, 1).sum(2)


@step("")
def strided(y, h):
    return y.as_strided(y.shape, y.stride()) * 0.5 if y.is_contiguous() else y * 0.5


@step("")
def searched(y, h):
    return y + torch.searchsorted(CONSTANT, y).to(y.dtype)


@step("")
def histogram(y, h):
    return y + torch.bincount((y.abs() * 2).long().flatten().clamp(0, 3), minlength=HIDDEN)


@step("")
def special_functions(y, h):
    return torch.special.bessel_j0(y) + torch.lgamma(1 + h.abs()) + torch.digamma(1 + y.abs())


@step("")
def einsum(y, h):
    return torch.einsum("bi,bj,ij->bj", y, h, torch.ones(HIDDEN, HIDDEN, dtype=y.dtype) * 0.1)


def of(function: Callable[[Tensor, Tensor], Tensor]) -> Callable:
    def one_step(x, h):
        y = function(x @ WEIGHT, h)
        return 0.5 * y, torch.tanh(y)

    return one_step
