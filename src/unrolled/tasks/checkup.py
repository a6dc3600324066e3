"""The check-up of a task's model: its network, on the loss that it is trained by.

Inputs: a fitted model, and data of its task or none. Outputs: a `Checkup`, and what it was made on.
"""

import copy
from typing import Self

import numpy as np
from torch import Tensor, nn

from unrolled import tasks
from unrolled.engine.trees import Tree
from unrolled.insight.checkup import checkup
from unrolled.insight.diagnosis import Checkup
from unrolled.insight.progress import Progress
from unrolled.randomness import set_aside
from unrolled.tasks.estimator import Estimator
from unrolled.tasks.known_answers import KnowsAnswers
from unrolled.tasks.starting import StartModel
from unrolled.training.job import Job
from unrolled.training.settings import TrainSettings

_MOST_EXAMPLES = 2000  # that one batch is drawn from
SYNTHETIC = "made-up input: what the model knows in random order, with random answers"


def checkup_of(model: Estimator, data: object = None, *, progress: Progress | None = None) -> Checkup:
    """The check-up of a fitted model's network on one batch, by the loss that it is trained by.

    The model itself stays as it is.

    Args:
        model: fitted.
        data: of its task, as its `read` and `as_data` return them; made up if None, see `SYNTHETIC`.
        progress: shows how far it is; see `checkup`.

    Raises:
        DataError: the data do not fit the model.
    """
    device = next(model.fitted.net.parameters()).device
    with set_aside(device, 0):
        module = tasks.task(model.task)
        if data is None:
            data = module.synthetic(model.fitted, np.random.default_rng(0))
        job = _job(model, data)
        _, carried = job.loss(job.module.eval(), 0, None)  # of a text: what goes before it
    return checkup(_LossModule(job.module, job, carried), (), loss=_itself, progress=progress)


class _LossModule(nn.Module):
    """A network that returns its loss on the second batch of its training."""

    def __init__(self, net: nn.Module, job: Job, carried: Tree) -> None:
        super().__init__()
        self.net, self.job, self.carried = net, job, carried

    def forward(self) -> Tensor:
        """The loss."""
        return self.job.loss(self.net, 1, self.carried)[0]

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return type(self)(copy.deepcopy(self.net, memo), self.job, self.carried)


def _itself(loss: Tensor) -> Tensor:
    return loss


def _job(model: Estimator, data: object) -> Job:
    """The training that would go on from the model."""
    kind = type(model)
    learner = kind(model.settings)
    whole = model.as_data(data)
    if isinstance(model, KnowsAnswers):
        model.check_answers(whole)
    if hasattr(whole, "part") and len(whole) > _MOST_EXAMPLES:
        whole = whole.part(range(_MOST_EXAMPLES))
    device = next(model.fitted.net.parameters()).device
    training = TrainSettings(steps=1, precision="float32")
    return learner._job(whole, None, training, device, StartModel.of(model, kind))
