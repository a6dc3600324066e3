"""The training loop that every task shares.

Inputs: a `Job`, which has a loss for each step and metrics of the validation part. Outputs: its best weights and the
record of the training. All that a step needs is derived from its number and the carried state, so that a run that was
killed anywhere resumes to the same weights, bit for bit.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unrolled.engine.trees import Tree
from unrolled.errors import DivergedError, RunError
from unrolled.nn.bptt import detached
from unrolled.randomness import set_aside
from unrolled.training import processes, stopping
from unrolled.training.devices import random_state
from unrolled.training.display import Display
from unrolled.training.gradient_metrics import LayerMetrics, advice, layer_metrics
from unrolled.training.interrupts import ctrl_c_waits
from unrolled.training.job import Job, TrainResult, check_baseline
from unrolled.training.optimizers import optimizer_of
from unrolled.training.run_folder import Run
from unrolled.training.settings import TrainSettings
from unrolled.training.stopping import Position

_WARMUP = 0.1  # share of the minutes
_EARLY, _EARLY_STEPS = 0.2, 500  # of a run: what it has not learned by then it may learn yet


def train(
    job: Job,
    settings: TrainSettings,
    *,
    run: Run | None = None,
    display: Display | None = None,
    make_optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None,
) -> TrainResult:
    """Trains a job's module until a bound or convergence, and leaves the best weights in it.

    Args:
        job: what to train on; see `Job`.
        settings: bounds, optimizer, schedule, clipping.
        run: a run folder for checkpoints and the best model; one whose training has begun is gone on with.
        display: told of the progress; silent if not given.
        make_optimizer: makes an optimizer of one's own in place of `settings.optimizer`.

    Raises:
        SettingsError: `most_minutes` is set, and the job does not say its baseline's loss.
        DivergedError: the loss or its gradient became NaN or infinite. The best model so far is kept.
        KeyboardInterrupt: as Ctrl-C makes it, after a checkpoint, also amid an evaluation.
    """
    check_baseline(job, settings)
    device = next(job.module.parameters()).device
    with set_aside(device):
        training = _Training(job, settings, run, display or Display(), make_optimizer)
        resumed_at = training.position.step
        try:
            if training.is_evaluation_owed():
                training.evaluate()
            while not (reason := training.reason_to_stop()):
                training.update()
                if training.is_evaluation_due():
                    training.evaluate()
                if training.is_checkpoint_due():
                    training.checkpoint()
            training.tell_finished(resumed_at, reason)
            training.checkpoint()
        except KeyboardInterrupt:
            # several processes stop at different steps; and half an update is none: the checkpoint before holds
            if training.is_whole and processes.world_size() == 1:
                with ctrl_c_waits():
                    training.checkpoint()
            raise
    return training.result(reason)


class _Training:
    """A training under way: what changes from step to step, and how."""

    def __init__(
        self,
        job: Job,
        settings: TrainSettings,
        run: Run | None,
        display: Display,
        make_optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None,
    ) -> None:
        self.job, self.settings, self.run, self.display = job, settings, run, display
        self.parameters = [parameter for parameter in job.module.parameters() if parameter.requires_grad]
        self.device = self.parameters[0].device
        self.optimizer = (
            make_optimizer(self.parameters)
            if make_optimizer
            else optimizer_of(settings.optimizer, self.parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        )
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, factor=0.5, patience=2)
        self.dtype = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
        self.position = Position()
        self.carried: Tree = None
        self.best = _copy(job.module)
        self.average = _copy(job.module) if settings.average else None
        torch.manual_seed(settings.seed + processes.rank())
        if run is not None and run.state is not None:
            with run.restoring():
                self._restore(run.state)
        self.told: set[str] = set()  # of what is wrong with its gradients
        _clip_states(job.module, settings.clip_state_gradient or None)
        self.is_whole = True
        self.random = random_state(self.device)  # as it was before the step that is under way
        self.module = processes.shared_gradients(job.module)
        self.began = time.monotonic() - self.position.seconds
        self.last_checkpoint = time.monotonic()

    def update(self) -> None:
        """One step: loss, gradient, clipping, optimizer."""
        at, settings = self.position, self.settings
        if settings.schedule != "plateau":
            factor = _schedule_factor(settings, at)
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
        self.module.train()
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            loss, carried = self.job.loss(self.module, at.step, self.carried)
        self.optimizer.zero_grad()
        loss.backward()
        if settings.clip_value:
            nn.utils.clip_grad_value_(self.parameters, settings.clip_value)
        at.gradient_norm = float(nn.utils.clip_grad_norm_(self.parameters, settings.clip_norm or math.inf))
        stopping.updated(at, float(processes.mean(loss.detach())))
        if not (math.isfinite(at.train_loss) and math.isfinite(at.gradient_norm)):
            raise DivergedError(self._advice())
        with ctrl_c_waits():
            self.is_whole = False
            self.optimizer.step()
            if self.average is not None:
                # short at first, so that the random first weights are soon forgotten
                decay = min(settings.average, (1 + at.step) / (10 + at.step))
                for name, value in self.job.module.state_dict().items():
                    if value.is_floating_point():
                        self.average[name].lerp_(value, 1 - decay)
            self.carried = detached(carried)
            at.step += 1
            self.random = random_state(self.device)
            at.seconds = processes.agreed(time.monotonic() - self.began)
            self.is_whole = True
        self.display.step(at.step, self.progress(), at.seconds, at.train_loss, at.gradient_norm)

    def evaluate(self) -> None:
        """Metrics of the validation part; the best weights are kept, in memory and in the run folder.

        An interrupt amid it leaves all as it was before: a resumed run evaluates first.
        """
        is_watched = self.settings.watch_gradients
        layers = layer_metrics(self.job, self.position.step, self.carried) if is_watched else []
        with self._averaged():
            metrics = self.job.evaluate()
            for layer in layers:
                metrics |= layer.columns()
            with ctrl_c_waits():
                self.is_whole = False
                is_best = self._note(metrics)
                self.is_whole = True
        # only then does it show: Ctrl-C may be the answer to what it shows
        self.display.evaluated(self.position.record[-1], self.job.describe(metrics), is_best=is_best)
        self._advise(layers)

    def _advise(self, layers: list[LayerMetrics]) -> None:
        """What is wrong with the gradients, each kind once."""
        baseline = self.job.baseline_loss
        at = self.position
        is_learning = stopping.has_left_its_start(at) if baseline is None else at.best_loss < baseline
        is_early = self.progress() < _EARLY and at.step < _EARLY_STEPS
        for kind, text in advice(layers, is_learning=is_learning or is_early).items():
            if kind not in self.told:
                self.told.add(kind)
                self.display.note(f"step {at.step}: {text}")

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Within the block the module has the averaged weights, if there are any."""
        if self.average is None:
            yield
            return
        now = _copy(self.job.module)
        try:
            self.job.module.load_state_dict(self.average)
            yield
        finally:
            with ctrl_c_waits():
                self.job.module.load_state_dict(now)

    def _note(self, metrics: dict[str, float]) -> bool:
        """Takes an evaluation into position, record and best weights; whether it is the best one."""
        at = self.position
        self.plateau.step(metrics["loss"])
        is_best = stopping.evaluated(at, metrics["loss"], self.job.steps_per_epoch)
        row = {"step": at.step, "seconds": round(at.seconds, 2), "train_loss": at.train_loss, **metrics}
        at.record.append(row | {"lr": self.optimizer.param_groups[0]["lr"], "gradient_norm": at.gradient_norm})
        if is_best:
            self.best = _copy(self.job.module)
            if self.run is not None and processes.rank() == 0:
                try:
                    self.job.save(self.run.model_path, at.record)
                except OSError as fault:
                    where = self.run.model_path
                    raise RunError(f"{where}: cannot be written: {fault.strerror or fault}") from fault
        if self.run is not None and processes.rank() == 0:
            self.run.write_log(at.record)  # for those who watch; the checkpoint has the rows too, later
        began, at.seconds = at.seconds, processes.agreed(time.monotonic() - self.began)
        at.seconds_evaluating += at.seconds - began
        at.progress_evaluated = self.progress()
        return is_best

    def checkpoint(self) -> None:
        """Writes all that is needed to go on from here, bit for bit."""
        self.last_checkpoint = time.monotonic()
        parts = processes.gathered({"random": self.random, "carried": self.carried})
        if self.run is None or processes.rank() != 0:
            return
        self.run.write_state(
            {
                "position": dataclasses.asdict(self.position),
                "module": dict(self.job.module.state_dict()),
                "best": self.best,
                "average": self.average,
                "optimizer": self.optimizer.state_dict(),
                "plateau": self.plateau.state_dict(),
                "parts": parts,
            }
        )
        self.run.write_log(self.position.record)

    def _restore(self, saved: Tree) -> None:
        if len(saved["parts"]) != processes.world_size():
            raise RunError(
                f"the run was trained by {len(saved['parts'])} processes, this is one of {processes.world_size()}. "
                "Resume it with as many."
            )
        self.position = Position(**saved["position"])
        self.job.module.load_state_dict(saved["module"])
        self.best, self.average = self._here(saved["best"]), self._here(saved.get("average"))
        self.optimizer.load_state_dict(saved["optimizer"])
        self.plateau.load_state_dict(saved["plateau"])
        part = saved["parts"][processes.rank()]
        self.carried = self._here(part["carried"])
        torch.set_rng_state(part["random"]["cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(part["random"]["cuda"], self.device)

    def _here(self, tree: Tree) -> Tree:
        return pytree.tree_map(lambda leaf: leaf.to(self.device) if isinstance(leaf, Tensor) else leaf, tree)

    def progress(self) -> float:
        """0 at the start to 1 at the nearer bound; 0 throughout where there is none."""
        return stopping.progress(self.position, self.settings)

    def reason_to_stop(self) -> str:
        """Why to stop here, or nothing; a bound of minutes may be extended first."""
        if stopping.is_extended(self.position, self.settings, self.job.baseline_loss):
            until = stopping.in_minutes(self.position.minutes or 0.0)
            self.display.note(f"no better than the baseline yet: goes on to {until}")
        return stopping.reason_to_stop(self.position, self.settings) or self.display.stop_reason

    def tell_finished(self, resumed_at: int, reason: str) -> None:
        """Says of a run that was resumed and has not gone on that it had ended before."""
        if self.run is not None and self.position.step == resumed_at > 0:
            self.display.note(
                f"the run had ended before, {reason}: nothing is left to train. To "
                f"train its model further: unrolled train {self.run.config.get('task', 'TASK')} FILE --from "
                f"{self.run.folder}"
            )

    def is_evaluation_due(self) -> bool:
        return stopping.is_evaluation_due(self.position, self.settings) or bool(self.display.stop_reason)

    def is_evaluation_owed(self) -> bool:
        """Whether the run was interrupted amid an evaluation."""
        at = self.position
        was_evaluated = bool(at.record) and at.record[-1]["step"] == at.step
        return at.step > 0 and not was_evaluated and stopping.is_evaluation_due(at, self.settings)

    def is_checkpoint_due(self) -> bool:
        return processes.agreed(time.monotonic() - self.last_checkpoint) >= self.settings.checkpoint_s

    def result(self, reason: str) -> TrainResult:
        """Puts the best weights into the module and sums up."""
        self.job.module.load_state_dict(self.best)
        _clip_states(self.job.module, None)
        at = self.position
        has_begun = stopping.has_begun(at, self.job.steps_per_epoch)
        return TrainResult(reason, at.step, at.seconds, at.best_step, at.best_loss, at.record, has_begun=has_begun)

    def _advice(self) -> str:
        at = self.position
        what = f"the loss is {at.train_loss}" if not math.isfinite(at.train_loss) else "the loss is finite"
        rate = self.optimizer.param_groups[0]["lr"]
        kept = "No model has been kept yet."
        if at.best_step:
            where = f" in {self.run.model_path}" if self.run is not None else ""
            kept = f"The best model, loss {at.best_loss:.4f} of step {at.best_step}, is kept{where}."
        clip = "a lower --clip-norm" if self.settings.clip_norm else "--clip-norm 1"
        return (
            f"training stopped at step {at.step + 1}: {what}, the gradient's norm is {at.gradient_norm:.3g}, "
            f"the learning rate {rate:.3g}. {kept} Try a lower --lr (such as {rate / 3:.2g}) or {clip}."
        )


def _schedule_factor(settings: TrainSettings, at: Position) -> float:
    """The learning rate's share of its highest value."""
    warm = min(1.0, (at.step + 1) / settings.warmup) if settings.warmup else 1.0
    # on a slow machine the updates of the warmup could be all that there are
    warm = max(warm, min(1.0, stopping.time_share(at, settings) / _WARMUP))
    if settings.schedule == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * stopping.progress(at, settings)))
    if settings.schedule == "linear":
        return warm * (1 - stopping.progress(at, settings))
    return warm


@runtime_checkable
class _Clips(Protocol):
    """A layer, or a module that calls `scan` itself."""

    clip_state_grad: float | None


def _clip_states(module: nn.Module, limit: float | None) -> None:
    for each in module.modules():
        if isinstance(each, _Clips):
            each.clip_state_grad = limit


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
