"""Attribution: how much each input, at each step, moved an output.

Inputs: a model, what it is called with, and which number of its output. Outputs: an `Attribution`. Integrated gradients
are those of M. Sundararajan, A. Taly and Q. Yan (arXiv:1703.01365), along a straight line from a baseline, by the
Gauss-Legendre rule; `integrated` is also what the tasks' highlights are made of.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from unrolled.engine.trees import Tree
from unrolled.errors import ArgumentError, SettingsError, ShapeError
from unrolled.explain import Layer
from unrolled.insight.subject import main_of
from unrolled.optional_libraries import library

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

Method = Literal["integrated_gradients", "input_x_gradient"]
METHODS = ("integrated_gradients", "input_x_gradient")
ENOUGH = 0.01  # of the difference that is explained
_FIRST, _MOST = 16, 512  # steps of the path, if they are not given
_SHOWN = 10

#: an index of the last axis; a tuple, which is an index of the whole; a function of the output
Target = int | slice | tuple[int | slice | EllipsisType | None, ...] | Callable[[Tree], Tensor] | None
#: inputs as they are on the path → the numbers that are explained, of any shape
Run = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class Attribution:
    """How much each input moved an output.

    Attributes:
        values: in the shape of the input; of a PackedSequence [time, batch, features], zero beyond a row's end; of
            tokens one number each. In the unit of the output: how much it is higher than it would be with the
            baseline in this place.
        output, at_baseline: the number that is explained, summed over the rows of the batch, for the input and for the
            baseline.
        completeness: by how much the values' sum misses `output - at_baseline`, as a share of it, the worst row of the
            batch where the output has rows. 0.01 is enough; of input × gradient it may be anything.
        method: as given.
        steps: points of the path that were computed.
    """

    values: Tensor
    output: float
    at_baseline: float
    completeness: float
    method: str
    steps: int

    @property
    def is_complete(self) -> bool:
        """Whether the values add up to what they explain, within 1 %."""
        return self.completeness <= ENOUGH

    def to_frame(self) -> "DataFrame":
        """A table of pandas, a row for each value: its place, `step`, `row` and `feature` (`axis 0` … where the values
        have other axes than three or two), and `value`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        pandas = library("pandas", "an attribution's to_frame needs", "pandas")
        values = self.values.numpy()
        named = {2: ["step", "row"], 3: ["step", "row", "feature"]}
        names = named.get(values.ndim, [f"axis {i}" for i in range(values.ndim)])
        places = np.indices(values.shape).reshape(values.ndim, -1)
        return pandas.DataFrame(dict(zip(names, places, strict=True)) | {"value": values.reshape(-1)})

    def plot(self, *, row: int = 0) -> "Figure":
        """A row of the batch as a figure of matplotlib's: what raised the output in red, what lowered it in blue, time
        from left to right.

        Raises:
            MissingExtraError: matplotlib is not installed.
            SettingsError: there is no such row.
        """
        values = self.values if self.values.dim() > 1 else self.values.unsqueeze(1)
        if not 0 <= row < values.shape[1]:
            raise SettingsError(f"attribution.plot: row={row}. Expected 0 to {values.shape[1] - 1}.")
        matplotlib = library("matplotlib.figure", "pictures need", "pictures")
        table = values[:, row].reshape(len(values), -1).T.numpy()
        figure = matplotlib.Figure(figsize=(9, 1.5 + 0.2 * min(len(table), 20)), layout="constrained")
        axes = figure.subplots()
        most = float(np.abs(table).max()) or 1.0
        image = axes.imshow(table, aspect="auto", interpolation="nearest", cmap="RdBu_r", vmin=-most, vmax=most)
        axes.set_xlabel("time step")
        axes.set_ylabel("feature")
        figure.colorbar(image, ax=axes, label="what it adds to the output")
        return figure

    def __repr__(self) -> str:
        words = self.method.replace("_", " ").replace(" x ", " × ")
        lines = [f"{words}, {self.steps} steps: from {self.at_baseline:.4g} to {self.output:.4g}"]
        if self.is_complete:
            lines[0] += f", all but {self.completeness:.2%} of it"
        else:
            lines[0] += f"; the values miss {self.completeness:.1%} of it"
        flat = self.values.reshape(-1)
        for i in flat.abs().argsort(descending=True)[:_SHOWN].tolist():
            place = ", ".join(map(str, np.unravel_index(i, self.values.shape)))
            lines.append(f"  [{place}]  {flat[i]:+.4g}")
        return "\n".join(lines)


def attribute(
    model: nn.Module,
    inputs: Tree,
    *,
    target: Target = None,
    method: Method = "integrated_gradients",
    steps: int | None = None,
    baseline: Tensor | float | None = None,
    at: nn.Module | Sequence[nn.Module] | None = None,
) -> Attribution:
    """Says which inputs, at which steps, moved an output, through the compiled loop and in evaluation mode.

    The model runs in evaluation mode and is put back; its weights get no gradient. Nothing has to be set before.

    Args:
        model: any module.
        inputs: what it is called with: a tensor, a PackedSequence, or a tuple of arguments, of which the first is
            explained. Tokens (integers) have no gradient: the input of the first recurrent layer stands for them,
            summed over its features.
        target: which number of the output, of its first tensor of floating-point numbers: an index of its last axis; a
            tuple, which is an index of the whole, such as `(-1, ..., 2)`; or a function of the model's output. Several
            numbers are explained as their sum. None where each row has one number.
        method: "integrated_gradients"; or "input_x_gradient", one pass, which is exact of what is linear alone.
        steps: points of the path. If not given, as many as make the values add up within 1 %, at most 512.
        baseline: where the path begins, a tensor that expands to the input, or a number; zero if not given.
        at: modules whose first argument is explained instead of the model's, such as an encoder; of several, together.

    Returns:
        An `Attribution`; `print` shows the largest values.

    Raises:
        ArgumentError: an argument is of another type than expected.
        SettingsError: a setting is unknown or out of its range.
        ShapeError: the target is no part of the output, or the output has several numbers a row and there is none.

    Example:
        >>> import torch, unrolled
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 1))
        >>> unrolled.attribute(model, torch.ones(5, 2, 3), target=0).values.shape
        torch.Size([5, 2, 3])
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"attribute: a model of type {type(model).__name__}. Expected a torch.nn.Module.")
    if method not in METHODS:
        raise SettingsError(f"attribute: method={method!r} is not known. Expected one of {', '.join(METHODS)}.")
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise SettingsError(f"attribute: steps={steps!r}. Expected a whole number of at least 1.")
    arguments = inputs if type(inputs) is tuple else (inputs,)
    has_tokens = False
    if at is None:
        first = arguments[0].data if arguments and isinstance(arguments[0], PackedSequence) else arguments[:1]
        given = first if isinstance(first, Tensor) else (first[0] if first else None)
        if not isinstance(given, Tensor):
            kind = type(given).__name__
            raise ArgumentError(f"attribute: the first argument is of type {kind}. Expected a tensor or packed rows.")
        has_tokens = not given.is_floating_point()
        at = _first_recurrent(model) if has_tokens else model
    places = list(at) if isinstance(at, Sequence) else [at]
    with _evaluating(model):
        path = _Path(lambda: model(*arguments), places)
        whole = integrated(path.run_with(lambda out: _chosen(out, target)), path.points, baseline, method, steps)
    return path.shown(whole, sums_features=has_tokens)


def integrated(
    run: Run,
    points: Sequence[Tensor],
    baseline: Tensor | float | Sequence[Tensor] | None = None,
    method: Method = "integrated_gradients",
    steps: int | None = None,
) -> tuple[list[Tensor], Attribution]:
    """The attributions of several inputs that move together, and an `Attribution` with the values of the first.

    Args:
        run: see `Run`; its result is summed, and held row by row where it has one axis.
        points: where the path ends.
        baseline: where it begins; of several inputs one for each, or one number for all.
        method: as in `attribute`.
        steps: as in `attribute`.
    """
    begins = _begins(points, baseline)
    ends = [each.detach() for each in points]
    with torch.no_grad():
        top, bottom = run(ends).detach().double(), run(begins).detach().double()
    if method == "input_x_gradient":
        n, values = 1, _along(run, begins, ends, [1.0], [1.0])
        missing = _missing(values, top - bottom)
    else:
        n = steps or _FIRST
        while True:
            nodes, weights = np.polynomial.legendre.leggauss(n)
            values = _along(run, begins, ends, ((nodes + 1) / 2).tolist(), (weights / 2).tolist())
            missing = _missing(values, top - bottom)
            if missing <= ENOUGH or steps is not None or 2 * n > _MOST:
                break
            n *= 2
    return values, Attribution(values[0], top.sum().item(), bottom.sum().item(), missing, method, n)


def _begins(points: Sequence[Tensor], baseline: object) -> list[Tensor]:
    given = list(baseline) if isinstance(baseline, list | tuple) else [baseline] * len(points)
    found = []
    for point, begin in zip(points, given, strict=True):
        value = torch.as_tensor(0.0 if begin is None else begin, dtype=point.dtype, device=point.device)
        try:
            found.append(value.expand_as(point).detach())
        except RuntimeError:
            raise ShapeError(
                f"attribute: a baseline of shape {list(value.shape)}; the input is {list(point.shape)}. Expected a "
                "number, or a tensor that expands to it."
            ) from None
    return found


def _along(
    run: Run, begins: list[Tensor], ends: list[Tensor], nodes: Sequence[float], weights: Sequence[float]
) -> list[Tensor]:
    """(end - begin) · the mean gradient on the straight line between them."""
    total = [torch.zeros_like(end, dtype=torch.float64) for end in ends]
    for at, weight in zip(nodes, weights, strict=True):
        now = [(a + at * (b - a)).requires_grad_() for a, b in zip(begins, ends, strict=True)]
        with torch.enable_grad():
            gradients = torch.autograd.grad(run(now).sum(), now, allow_unused=True)
        for each, gradient in zip(total, gradients, strict=True):
            if gradient is not None:
                each += weight * gradient.double()
    return [g * (b.double() - a.double()) for g, a, b in zip(total, begins, ends, strict=True)]


def _missing(values: list[Tensor], wanted: Tensor) -> float:
    """By how much sums of values miss what is wanted, as a share of the largest; by row where the axis is known."""
    n_rows = len(wanted) if wanted.dim() == 1 else 0
    axis = next((i for i in (1, 0) if all(v.dim() > i and v.shape[i] == n_rows for v in values)), None)
    if n_rows > 1 and axis is not None:
        found = sum((v.movedim(axis, 0).flatten(1).sum(1) for v in values), torch.zeros_like(wanted))
    else:
        found, wanted = sum((v.sum() for v in values), torch.zeros(())), wanted.sum()
    scale = wanted.abs().max().item()
    error = (found - wanted).abs().max().item()
    return error / scale if scale > 0 else (0.0 if error == 0 else float("inf"))


def integrated_at(call: Callable[[], Tensor], places: Sequence[nn.Module]) -> tuple[list[Tensor], Attribution]:
    """`integrated` for the first arguments of some modules when a model is called; the path begins at zero."""
    path = _Path(call, places)
    return integrated(path.run_with(lambda out: out), path.points)


class _Path:
    """A call of a model, in which the first argument of some modules is replaced.

    Attributes:
        points: the inputs that are explained, as the model computes them.
    """

    def __init__(self, call: Callable[[], Tree], places: Sequence[nn.Module]) -> None:
        self._call, self._places = call, places
        self._packed: list[PackedSequence | None] = []
        self.points: list[Tensor] = []
        with torch.no_grad(), self._hooked(self._note):
            call()
        if not self.points:
            raise ArgumentError("attribute: none of the modules of `at` is called by the model.")

    def run_with(self, choose: Callable[[Tree], Tensor]) -> Run:
        """The model with other points."""

        def run(points: Sequence[Tensor]) -> Tensor:
            rest = iter(zip(points, self._packed, strict=True))

            def put(_module: nn.Module, args: tuple[Tree, ...]) -> tuple[Tree, ...]:
                point, packed = next(rest)
                return (point if packed is None else packed._replace(data=point), *args[1:])

            with self._hooked(put):
                return choose(self._call())

        return run

    def shown(self, found: tuple[list[Tensor], Attribution], *, sums_features: bool) -> Attribution:
        """The values of the first point, in its form."""
        values, about = found
        first, packed = values[0], self._packed[0]
        if packed is not None:
            first = pad_packed_sequence(packed._replace(data=first))[0]
        if sums_features:
            first = first.flatten(2).sum(2)
        return Attribution(
            first.float().cpu(), about.output, about.at_baseline, about.completeness, about.method, about.steps
        )

    def _note(self, module: nn.Module, args: tuple[Tree, ...]) -> None:
        value = args[0] if args else None
        packed = value if isinstance(value, PackedSequence) else None
        data = value.data if isinstance(value, PackedSequence) else value
        if not isinstance(data, Tensor) or not data.is_floating_point():
            raise ArgumentError(
                f"attribute: {type(module).__name__} is given a first argument of type {type(value).__name__}, which "
                "is no tensor of floating-point numbers. Name another module with `at`."
            )
        self.points.append(data.detach())
        self._packed.append(packed)

    @contextlib.contextmanager
    def _hooked(self, hook: Callable[[nn.Module, tuple[Tree, ...]], tuple[Tree, ...] | None]) -> Iterator[None]:
        handles = [place.register_forward_pre_hook(hook) for place in self._places]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _first_recurrent(model: nn.Module) -> nn.Module:
    found = next((each for each in model.modules() if isinstance(each, nn.RNNBase | Layer)), None)
    if found is None:
        raise ArgumentError(
            "attribute: the input is of integers, which have no gradient, and the model has no recurrent layer. Name "
            "the module whose input is explained with `at`."
        )
    return found


def _chosen(out: Tree, target: Target) -> Tensor:
    if callable(target):
        found = target(out)
        if not isinstance(found, Tensor) or not found.is_floating_point():
            raise ArgumentError("attribute: the target returned no tensor of floating-point numbers.")
        return found
    main = main_of(out)
    if main is None:
        raise ArgumentError(
            "attribute: the model returns no tensor of floating-point numbers. Let target be a function."
        )
    if target is None:
        if main.dim() > 1 and main.shape[-1] != 1 and main.numel() > 1:
            raise ShapeError(
                f"attribute: the output is {list(main.shape)}, several numbers a row. Say which with `target`, such as "
                "target=0 for the first of the last axis."
            )
        return main.flatten() if main.dim() < 3 else main.squeeze(-1)
    try:
        return main[target] if isinstance(target, tuple) else main[..., target]
    except (IndexError, TypeError):
        raise ShapeError(f"attribute: target={target!r} is no part of the output {list(main.shape)}.") from None


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, without gradients of weights."""
    modes = [(each, each.training) for each in model.modules()]
    weights = [each for each in model.parameters() if each.requires_grad]
    model.eval()
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for each, mode in modes:
            each.training = mode
        for weight in weights:
            weight.requires_grad_(True)
