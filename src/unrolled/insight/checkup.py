"""`checkup`: a diagnosis of a recurrent network, in sentences.

Inputs: a model and a batch. Outputs: a `Checkup`. Each measure has a file of its own; here they are put together.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unrolled.engine import dispatch
from unrolled.engine.checked_scan import CheckedScan
from unrolled.engine.trees import Tree
from unrolled.insight.chains import Chain
from unrolled.insight.diagnosis import Checkup
from unrolled.insight.fixed_points import MOST_NUMBERS, FixedPoint, fixed_points
from unrolled.insight.layer_checkup import LayerCheckup
from unrolled.insight.lyapunov import exponents_of, n_of_passes
from unrolled.insight.memory import dead_units, effective_rank, forgetting_times, starts_in
from unrolled.insight.modes import modes_of
from unrolled.insight.names import state_names
from unrolled.insight.past import past_of
from unrolled.insight.progress import Progress, of_call
from unrolled.insight.reach import Reach, reach_of
from unrolled.insight.restarts import restarts_of
from unrolled.insight.subject import Run, Subject, batch_errors, check, nothing_ran
from unrolled.insight.tangents import OF_OTHER_ROWS, Linear, n_finite_steps, trajectory_of
from unrolled.insight.verdict import Measurements, verdict_of

_ROWS = 8  # whose Jacobians are looked at
_EXPONENTS = 16
_STARTS = 256  # of the search for fixed points
_TIMES_AS_LONG = 4
_REST = 10  # one of so many inputs is zero where zero is the input at rest


def checkup(
    model: nn.Module,
    batch: Tree,
    *,
    loss: Callable[[Tree], Tensor] | None = None,
    progress: Progress | None = None,
) -> Checkup:
    """Diagnoses a recurrent network: what is wrong, and what to do.

    It looks at a copy of the model in evaluation mode: how far back the gradient of the last step reaches, whether
    states along the data come together or drift apart (Lyapunov exponents), what the model uses of the past,
    whether gates are saturated and units dead, how long each unit keeps what it knows, how many directions the states
    fill, what changes between training and evaluation, and, where the input rests most of the time, the fixed points.
    Your model stays as it is: weights, gradients, mode, hooks, random state. Of a layer with hundreds of units it takes
    minutes, which a terminal or a notebook is told.

    Args:
        model: holds Unrolled's layers, torch's `RNN`, `LSTM` or `GRU` (which `swap` exchanges in the copy), or calls
            `scan`.
        batch: what the model takes: a tensor, or a tuple of arguments. Several rows tell more than one.
        loss: a function of the model's output, a tensor of one number; the mean square of the output's last time step
            if not given. With a loss the check-up knows whether the model does its task.
        progress: shows how far it is; a line of its own on a terminal or in a notebook, and nothing elsewhere, if None.

    Returns:
        The findings, `verdict`, and all measurements; `print` shows them.

    Raises:
        ArgumentError: an argument is of another type than expected, the model cannot be copied, or the loss is no
            number.
        ShapeError: nothing recurrent ran in the model that can be looked into.
        ProbeError: a probe is on, or the model runs under torch.compile or torch.func.

    Example:
        >>> import torch, unrolled
        >>> torch.manual_seed(0)
        <torch._C.Generator object at ...>
        >>> found = unrolled.checkup(torch.nn.RNN(2, 16), torch.randn(100, 4, 2))
        >>> [finding.kind for finding in found.verdict]
        ['vanishing']
    """
    check(model)
    subject = Subject(model, batch, loss)
    with batch_errors(batch):
        run = subject.run()
    if not run.chains:
        raise nothing_ran(subject)
    runs = {"all": run}
    trouble = run.record.trouble
    is_finite = (trouble is None or trouble.is_of_gradient) and math.isfinite(run.loss)
    if is_finite:
        runs["last"] = run if loss is None else subject.run(reads="last")
        if subject.returns_loss:
            runs["first"] = runs["last"]
        elif any(chain.is_reversed for chain in run.chains):
            runs["first"] = subject.run(reads="first")
    reaches = [_reach(runs, i) for i in range(len(run.chains))]
    layers = _layers(run.chains, reaches, progress or of_call())
    past = past_of(subject, run.chains) if is_finite else None
    modes = modes_of(subject) if is_finite else None
    direct = [_reach({"all": run}, i) if subject.returns_loss else None for i in range(len(run.chains))]
    restarts = restarts_of(subject, run.chains, run.loss) if is_finite else None
    measurements = Measurements(layers, run.chains, direct, past, modes, restarts, trouble, run.loss)
    felt = [layer.reach for layer in layers if layer.reach is not None]
    farthest = max((reach.horizon for reach in felt), default=0)
    return Checkup(
        verdict=verdict_of(measurements),
        half_life=max((reach.half_life for reach in felt), default=math.nan),
        horizon=farthest if past is None else past.horizon,
        lyapunov=sorted((each for layer in layers for each in layer.lyapunov), reverse=True)[:_EXPONENTS],
        layers=layers,
        past=past,
        loss=run.loss,
        n_steps=max(chain.n_steps for chain in run.chains),
        record=runs.get("last", run).record,
        unseen=subject.kept,
    )


def _reach(runs: dict[str, Run], i: int) -> Reach | None:
    """Of the gradient of the step at which a layer ends; of the whole loss where that has none."""
    whole = runs["all"].chains[i]
    for reads in ("first",) if whole.is_reversed and "first" in runs else ("last", "all"):
        run = runs.get(reads)
        if run is None:
            continue
        chain = run.chains[i]
        running = chain.running
        if running is not None and chain.is_reversed:
            running = running.flip(0)
        found = reach_of(chain.gradients(), running)
        if found is not None:
            return found
    return None


def _layers(chains: Sequence[Chain], reaches: Sequence[Reach | None], progress: Progress) -> list[LayerCheckup]:
    """The measurements of all layers and directions, which take the longest."""
    progress.start(
        sum(n_of_passes(n) * n + sum(n - start for start in starts_in(n)) for n in map(_n_looked_at, chains))
    )
    try:
        return [_layer(chain, reach, progress) for chain, reach in zip(chains, reaches, strict=True)]
    finally:
        progress.stop()


def _n_looked_at(chain: Chain) -> int:
    return max(1, n_finite_steps(chain))


def _layer(chain: Chain, reach: Reach | None, progress: Progress) -> LayerCheckup:
    """The measurements of one layer and direction."""
    names, states, active = state_names(chain.step, chain.scans[0].arguments.state), chain.states(), chain.active
    n_finite = n_finite_steps(chain)
    gates: dict[str, tuple[float, float, float]] = {}
    for name in chain.entries[0].gates:
        of_calls = [entry.gates[name] for entry in chain.entries if name in entry.gates]
        means, shares = (torch.cat(each) for each in zip(*((g.mean, g.saturated) for g in of_calls), strict=True))
        gates[name] = means.double().mean().item(), shares.double().mean().item(), min(each.dead for each in of_calls)
    moving = {name: leaf for name, leaf in zip(names, states, strict=True) if leaf.is_floating_point()}
    exponents, forgetting = _along(chain, moving, n_finite, progress)
    dead = {
        name: dead_units(leaf, active, is_bounded=bool(gates)).double().mean().item() for name, leaf in moving.items()
    }
    return LayerCheckup(
        name=chain.name,
        module=chain.module,
        n_steps=chain.n_steps,
        n_units=sum(leaf[0, 0].numel() for leaf in states),
        reach=reach,
        lyapunov=exponents,
        dead=dead,
        effective_rank=effective_rank(next(iter(moving.values())), active) if moving else 0.0,
        forgetting=forgetting,
        saturated={name: share for name, (_, share, _) in gates.items()},
        gate_means={name: mean for name, (mean, _, _) in gates.items()},
        stuck={name: stuck for name, (_, _, stuck) in gates.items()},
        fixed_points=_at_rest(chain) if n_finite == chain.n_steps else None,
        growth=_growth(chain, states),
    )


def _along(
    chain: Chain, moving: dict[str, Tensor], n_finite: int, progress: Progress
) -> tuple[list[float], dict[str, Tensor]]:
    """Lyapunov exponents and forgetting times along the data, as far as they are finite."""
    if n_finite < 2 or not moving:
        return [], {}
    path = trajectory_of(chain, _ROWS, n_finite)
    if path.n_steps < 2:
        return [], {}
    linear = Linear(path, progress)
    exponents = exponents_of(linear, n=_EXPONENTS).tolist()
    units, times = forgetting_times(linear)
    sizes = torch.tensor([leaf[0, 0].numel() for leaf in moving.values()])
    owner = torch.repeat_interleave(torch.arange(len(sizes)), sizes)[units]
    return exponents, {name: times[owner == i] for i, name in enumerate(moving)}


def _at_rest(chain: Chain) -> list[FixedPoint] | None:
    """The fixed points where the input rests, often zero or mostly the same; None where it does not rest."""
    xs = pytree.tree_leaves(chain.inputs())
    states = chain.states()
    sizes = sum(leaf[0, 0].numel() for leaf in states)
    if sizes > MOST_NUMBERS or not all(leaf.is_floating_point() for leaf in (*xs, *states)):
        return None
    flat = torch.cat([leaf.flatten(0, 1).flatten(1) for leaf in xs], 1) if xs[0].dim() > 2 else xs[0].reshape(-1, 1)
    chosen = flat[torch.linspace(0, len(flat) - 1, min(len(flat), 4096)).long()]
    kinds, which, counts = chosen.unique(dim=0, return_inverse=True, return_counts=True)
    is_zero = (kinds == 0).all(1)
    if is_zero.any() and counts[is_zero] * _REST >= len(chosen):
        counts = torch.where(is_zero, len(chosen), counts)
    elif counts.max() * 2 < len(chosen):
        return None
    at = int((which == counts.argmax()).nonzero()[0])
    at = int(torch.linspace(0, len(flat) - 1, min(len(flat), 4096)).long()[at])
    x = pytree.tree_map(lambda leaf: leaf.flatten(0, 1)[at : at + 1], chain.inputs())
    places = torch.linspace(0, len(flat) - 1, min(len(flat), _STARTS)).long()
    starts = [leaf.flatten(0, 1)[places] for leaf in states]
    try:
        return fixed_points(
            chain.step, x, pytree.tree_unflatten(starts, pytree.tree_structure(chain.scans[0].arguments.state))
        )
    except OF_OTHER_ROWS:
        return None


def _growth(chain: Chain, states: Sequence[Tensor]) -> float:
    """By how much the state's norm has grown where the data come several times in a row."""
    norm = _norm([leaf[-1] for leaf in states])
    if chain.is_reversed or chain.active is not None or not math.isfinite(norm) or not norm:
        return 1.0
    last = chain.scans[-1]
    now: Tree = pytree.tree_unflatten([leaf[-1] for leaf in states], pytree.tree_structure(last.arguments.state))
    xs, engine = chain.inputs(), "eager" if chain.entries[-1].path == "eager" else "auto"
    with torch.no_grad():
        for _ in range(_TIMES_AS_LONG - 1):
            now = dispatch.run_scan(CheckedScan(chain.step, xs, now), engine=engine)[1]
    return _norm(pytree.tree_leaves(now)) / norm


def _norm(leaves: Sequence[Tensor]) -> float:
    squares = [leaf.double().square().sum() for leaf in leaves if leaf.is_floating_point()]
    return torch.stack(squares).sum().sqrt().item() if squares else 0.0
