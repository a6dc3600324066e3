"""How to train: the settings that every task takes.

Inputs: what a user chooses. Outputs: a frozen value, checked.
"""

from dataclasses import dataclass

from unrolled.errors import SettingsError
from unrolled.settings import Settings, option
from unrolled.training.optimizers import OPTIMIZERS

SCHEDULES = ("cosine", "linear", "constant", "plateau")


@dataclass(frozen=True)
class TrainSettings(Settings):
    """How to train: bounds, optimizer, schedule and clipping. Every task takes these."""

    minutes: float | None = option(None, "stop after this many minutes of training, evaluations among them", above=0)
    most_minutes: float | None = option(
        None,
        "while the model is no better than its baseline, go on, up to this many minutes (text only)  [no]",
        above=0,
    )
    steps: int | None = option(None, "stop after this many updates; such a run can be repeated bit for bit", least=1)
    patience: int = option(
        5,
        "stop after this many evaluations without improvement; they count after 3 epochs, where the training loss has "
        "left its starting level and no longer falls; 0: never",
        least=0,
    )
    eval_every: int | None = option(
        None,
        "updates between evaluations  [10 times a bounded run; with --minutes in a tenth of the time, but 3 at least; "
        "without a bound every 500]",
        least=1,
    )
    checkpoint_s: float = option(60.0, "seconds between checkpoints", least=0)
    optimizer: str = option("adamw", "optimizer, of torch.optim", choices=tuple(OPTIMIZERS))
    lr: float = option(4e-3, "highest learning rate", above=0)
    weight_decay: float = option(0.01, "weight decay", least=0)
    schedule: str = option("cosine", "course of the learning rate over the run's bound", choices=SCHEDULES)
    warmup: int = option(
        100, "updates over which the learning rate rises from 0, in a tenth of --minutes at most", least=0
    )
    clip_norm: float = option(1.0, "clip the gradient to this norm; 0: do not", least=0)
    clip_value: float = option(0.0, "clip every entry of the gradient to ± this; 0: do not", least=0)
    clip_state_gradient: float = option(
        0.0, "clip the gradient of recurrent layers' state to ± this at each step of the backward; 0: do not", least=0
    )
    watch_gradients: bool = option(
        False,
        "at every evaluation, gradients of each recurrent layer as columns of the log, and a line where they vanish, "
        "explode or saturate; takes the time of about three updates",
    )
    average: float = option(
        0.0,
        "decay of a running average of the weights, which is judged and kept in their place; 0: none",
        least=0,
        most=0.99999,
    )
    precision: str = option(
        "auto",
        "of the products: float32, bfloat16, or the faster one on this machine",
        choices=("auto", "float32", "bfloat16"),
    )
    device: str = option("auto", "cpu, cuda, cuda:1, mps ...; auto takes a GPU where there is one")
    seed: int = option(0, "of weights, order and dropout", least=0, most=2**31)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule in ("cosine", "linear") and self.steps is None and self.minutes is None:
            raise SettingsError(
                f"schedule={self.schedule} needs an end to run towards: give steps or minutes, "
                "or take schedule=plateau, which lowers the rate whenever the loss no longer improves"
            )
        if self.most_minutes is not None and (self.minutes is None or self.most_minutes < self.minutes):
            raise SettingsError(
                f"most_minutes={self.most_minutes:g}: expected minutes={self.minutes or 'M'} or more; "
                "it is how long a run bounded by minutes may go on"
            )
