"""Where a training stands, when it is evaluated, and when it ends.

Inputs: its settings, and the position that the loop keeps. Outputs: whether an evaluation is due; the reason to stop.
Plain numbers in and out, so that the rules can be tested without a network.
"""

import math
from dataclasses import dataclass, field

from unrolled.data.counted import counted
from unrolled.files.model_file import EvaluationRow
from unrolled.training.settings import TrainSettings

EPOCHS = 3  # before patience counts
_N_FIRST = 10  # updates whose losses are the starting level
_EVALS_A_RUN = 10
_EVALUATING = 0.1  # share of the time
_EVAL_EVERY_UNBOUNDED = 500
_AT_THE_START = 4  # times patience: how long a run without bound may stay at its starting level
_FALLS = 0.01  # of what the training loss has fallen so far: less is none


@dataclass
class Position:
    """Where a training stands, in plain numbers.

    Attributes:
        step, seconds: updates made, and the time that they and the evaluations took.
        seconds_evaluating: of these, what the evaluations took.
        train_loss, gradient_norm: of the last update.
        best_loss, best_step: of the best evaluation.
        n_waited: evaluations after the best one, counted from the third epoch on.
        n_stale: those of them that patience counts.
        minutes: the bound; None before the first update, or without one.
        progress_evaluated: of the bound, at the last evaluation.
        first_losses: training losses of the first updates.
        loss_sum, n_losses: of the training since the last evaluation.
        lowest_loss: the lowest mean of the training loss between two evaluations.
        record: a row for each evaluation.
    """

    step: int = 0
    seconds: float = 0.0
    seconds_evaluating: float = 0.0
    train_loss: float = math.nan
    gradient_norm: float = math.nan
    best_loss: float = math.inf
    best_step: int = 0
    n_waited: int = 0
    n_stale: int = 0
    minutes: float | None = None
    progress_evaluated: float = 0.0
    first_losses: list[float] = field(default_factory=list)
    loss_sum: float = 0.0
    n_losses: int = 0
    lowest_loss: float = math.inf
    record: list[EvaluationRow] = field(default_factory=list)


def updated(at: Position, train_loss: float) -> None:
    """Notes the training loss of an update."""
    at.train_loss = train_loss
    at.loss_sum, at.n_losses = at.loss_sum + train_loss, at.n_losses + 1
    if len(at.first_losses) < _N_FIRST:
        at.first_losses.append(train_loss)


def evaluated(at: Position, loss: float, steps_per_epoch: int) -> bool:
    """Notes an evaluation; returns whether it is the best so far.

    Patience counts an evaluation that is no better only after three epochs, only where the training loss has left its
    starting level, and not while the training loss falls.
    """
    mean = at.loss_sum / max(1, at.n_losses)
    at.loss_sum, at.n_losses = 0.0, 0
    fallen = max(0.0, sum(at.first_losses) / max(1, len(at.first_losses)) - at.lowest_loss)
    falls = mean < at.lowest_loss - _FALLS * fallen
    at.lowest_loss = min(at.lowest_loss, mean)
    if loss < at.best_loss:
        at.best_loss, at.best_step = loss, at.step
        at.n_waited = at.n_stale = 0
        return True
    if is_counted(at, steps_per_epoch):
        at.n_waited += 1
        at.n_stale += has_left_its_start(at) and not falls
    return False


def is_counted(at: Position, steps_per_epoch: int) -> bool:
    """Whether each example has occurred often enough for an evaluation to tell something."""
    return at.step >= EPOCHS * steps_per_epoch


def has_begun(at: Position, steps_per_epoch: int) -> bool:
    """Whether an evaluation that is no better tells that longer training does not help."""
    return is_counted(at, steps_per_epoch) and has_left_its_start(at)


def has_left_its_start(at: Position) -> bool:
    """Whether the training loss has been, in the mean between two evaluations, below each of its first values."""
    return at.lowest_loss < min(at.first_losses, default=math.inf)


def time_share(at: Position, settings: TrainSettings) -> float:
    """The share of the minutes that is over; 0 without such a bound."""
    minutes = at.minutes or settings.minutes
    return min(1.0, at.seconds / (60 * minutes)) if minutes else 0.0


def in_minutes(minutes: float) -> str:
    """A bound in words, with three digits at least."""
    told = f"{minutes:.3g}" if minutes < 1000 else f"{minutes:,.0f}"
    return f"{told} minute{'' if told == '1' else 's'}"


def progress(at: Position, settings: TrainSettings) -> float:
    """0 at the start to 1 at the nearer bound; 0 throughout where there is none."""
    by_steps = at.step / settings.steps if settings.steps else 0.0
    return min(1.0, max(by_steps, time_share(at, settings)))


def reason_to_stop(at: Position, settings: TrainSettings) -> str:
    """Why to stop here, or nothing."""
    if settings.patience and at.n_stale >= settings.patience:
        return f"converged: no better for {counted(at.n_waited, 'evaluation')}, and the training loss no longer falls"
    if settings.steps and at.step >= settings.steps:
        return f"{counted(settings.steps, 'step')} done"
    if time_share(at, settings) >= 1:
        return f"{in_minutes(at.minutes or settings.minutes or 0.0)} over"
    is_unbounded = settings.steps is None and settings.minutes is None
    is_long_enough = at.n_waited >= _AT_THE_START * settings.patience > 0
    if is_unbounded and is_long_enough and not has_left_its_start(at):
        return f"no better for {counted(at.n_waited, 'evaluation')}; the training loss is still at its starting level"
    return ""


def is_evaluation_due(at: Position, settings: TrainSettings) -> bool:
    """Every `eval_every` steps, or 10 times a bounded run, and at its end. Where that is by the clock, evaluations take
    a tenth of the time at most, but for the first one, one at half of the time, and the last. Never by the clock where
    the run is bounded by steps alone: it must be repeatable.
    """
    if reason_to_stop(at, settings):
        return True
    if settings.minutes and not settings.eval_every:
        before, now = at.progress_evaluated, progress(at, settings)
        if before < 0.5 <= now:
            return True
        is_time = int(_EVALS_A_RUN * now) > int(_EVALS_A_RUN * before)
        return is_time and at.seconds_evaluating <= _EVALUATING * at.seconds
    by_steps = math.ceil(settings.steps / _EVALS_A_RUN) if settings.steps else _EVAL_EVERY_UNBOUNDED
    return at.step % (settings.eval_every or by_steps) == 0


def is_extended(at: Position, settings: TrainSettings, baseline_loss: float | None) -> bool:
    """Whether a run whose minutes are over goes on: its bound is doubled, up to `most_minutes`, while it is no better
    than its baseline. Then the learning rate rises again to where it was at half of the new bound.
    """
    minutes, most = at.minutes or settings.minutes, settings.most_minutes
    is_over = time_share(at, settings) >= 1 and not (settings.steps and at.step >= settings.steps)
    if not minutes or not most or minutes >= most or not is_over:
        return False
    if baseline_loss is None or at.best_loss < baseline_loss or (settings.patience and at.n_stale >= settings.patience):
        return False
    at.minutes = min(most, 2 * max(minutes, at.seconds / 60))
    at.progress_evaluated = progress(at, settings)
    return True
