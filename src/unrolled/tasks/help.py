"""What the command line says of a task."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskHelp:
    """The texts that a task has for the command line.

    Attributes:
        usual: arguments of a usual training, after `unrolled train TASK`.
        purpose: what it is good for, in a few words.
        train: trainings, a line each.
        predict: predictions, a line each.
    """

    usual: str
    purpose: str
    train: str
    predict: str = ""
