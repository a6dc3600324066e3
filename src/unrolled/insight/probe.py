"""`probe`: looks into every scan that runs within a `with`.

Inputs: a model; then each scan, as `scan` gives it here. Outputs: a `Record`. How the gradients of states are had is in
docs/design/probe.md.
"""

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unrolled.engine.backends import eager
from unrolled.engine.checked_scan import CheckedScan
from unrolled.engine.dispatch import by_engine
from unrolled.engine.probed import run_probed
from unrolled.engine.trees import Tree
from unrolled.errors import ArgumentError
from unrolled.insight.probed_scan import ProbedScan, note_fused, run_eager
from unrolled.insight.record import Record, ScanRecord
from unrolled.insight.scan_hook import ScanHook

_OF_TORCH = (nn.RNN, nn.LSTM, nn.GRU)  # themselves: ours are subclasses


@contextlib.contextmanager
def probe(model: nn.Module) -> Iterator[Record]:
    """Looks into every `scan` and layer that runs within, forward and backward.

    Results and gradients are those without a probe. Scans are told apart by module, layer, direction and call, so
    several training steps may run within. `unrolled.LSTM` runs its own loop within, never torch's. Gradients are those
    of the last `backward()`; `torch.autograd.grad` leaves none. `scan(..., recompute=True)` keeps all states here.

    Args:
        model: gives modules and weights their names.

    Returns:
        A context manager that gives the `Record`, which is filled as the model runs.

    Raises:
        ArgumentError: `model` is no module.
        ProbeError: a probe is on already; or a scan within runs under torch.compile or torch.func.

    Example:
        >>> import torch, unrolled
        >>> layer = unrolled.GRU(3, 5)
        >>> with unrolled.probe(layer) as record:
        ...     layer(torch.randn(7, 2, 3))[0].sum().backward()
        >>> record.scans[0].gradients["h"].shape
        torch.Size([7, 2])
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"probe: a model of type {type(model).__name__}. Expected a torch.nn.Module.")
    with _Probe(model).on() as work:
        yield work.record


@contextlib.contextmanager
def probe_keeping(
    model: nn.Module, change: Callable[[ScanRecord, ProbedScan, Tree], Tree] | None = None
) -> Iterator[tuple[Record, list[tuple[ScanRecord, ProbedScan]]]]:
    """As `probe`; the arguments and the states of each scan are kept too, and `change` may exchange its outputs."""
    work = _Probe(model)
    work.kept, work.change = [], change
    with work.on():
        yield work.record, work.kept


class _Probe(ScanHook):
    kept: list[tuple[ScanRecord, ProbedScan]] | None = None
    change: Callable[[ScanRecord, ProbedScan, Tree], Tree] | None = None

    def __init__(self, model: nn.Module) -> None:
        super().__init__("probe")
        self.record = Record()
        self.record.unseen = [name or "model" for name, each in model.named_modules() if type(each) in _OF_TORCH]
        self._modules = {id(module): name for name, module in model.named_modules()}
        self._weights = {id(weight): name for name, weight in model.named_parameters()}
        self._calls: Counter[tuple[str, int, str]] = Counter()

    def run(self, scan: CheckedScan, *, engine: str) -> tuple[Tree, Tree]:
        leaves, active = pytree.tree_leaves((scan.xs, scan.state)), scan.active
        if active is not None and active.all():
            scan = scan._replace(active=None)
        elif active is not None and not active.any():  # nothing runs
            return eager.run_scan(scan)
        if any(leaf.numel() == 0 for leaf in leaves):
            return eager.run_scan(scan)
        kept: list[Tensor] | None = None if self.kept is None else []
        watched = ProbedScan(scan, self._weights, self.places, kept)

        def fused() -> tuple[Tree, Tree]:
            found = run_probed(scan)
            entry = self._entry(watched, "fused")
            note_fused(watched, entry, self.record, found)
            return self._changed(entry, watched, found.ys), found.last

        def in_python() -> tuple[Tree, Tree]:
            entry = self._entry(watched, "eager")
            ys, last = run_eager(watched, entry, self.record)
            return self._changed(entry, watched, ys), last

        return by_engine(engine, fused, in_python)

    def _changed(self, entry: ScanRecord, scan: ProbedScan, ys: Tree) -> Tree:
        return ys if self.change is None else self.change(entry, scan, ys)

    def _entry(self, scan: ProbedScan, path: str) -> ScanRecord:
        direction = "backward" if scan.arguments.is_reversed else "forward"
        place = self._module_of(scan.arguments.step), self.layer, direction
        entry = ScanRecord(*place, self._calls[place], path, scan.running)
        self._calls[place] += 1
        self.record.scans.append(entry)
        if self.kept is not None:
            self.kept.append((entry, scan))
        return entry

    def _module_of(self, step: Callable) -> str:
        """The innermost module of the model whose `forward` runs; else the step itself, if it is one."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_name == "forward":
                owner = id(frame.f_locals.get("self"))
                if owner in self._modules:
                    return self._modules[owner]
            frame = frame.f_back
        return self._modules.get(id(step), "")
