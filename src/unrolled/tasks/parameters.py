"""A model's settings as keywords, as scikit-learn reads and sets them.

Inputs: a dataclass of settings, or keywords; those of the training are among them. Outputs: checked settings. A file
of its own, as it is all that scikit-learn's `clone` and searches need of a model.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from unrolled import optional_libraries
from unrolled.errors import SettingsError
from unrolled.settings import Settings
from unrolled.training.settings import TrainSettings

S = TypeVar("S", bound=Settings)  # the task's settings
LR_SHARE = 0.25  # with a model to start from: weights that are good already are changed less


class Parameters(Generic[S]):
    """A model's settings and its training's, which are one set of keywords: no name is in both.

    Attributes:
        settings: what the model is, and how its data are read.
        train_settings: how it is trained where `fit` is not told.
    """

    estimator_type: ClassVar[str | None] = None  # what scikit-learn calls it
    kind: ClassVar[type[Any]]  # the class of its settings: S, which no class variable may say
    default_training: ClassVar[TrainSettings]

    def __init__(self, settings: S | None, values: Mapping[str, object]) -> None:
        if settings is not None and not isinstance(settings, self.kind):
            raise SettingsError(
                f"{type(self).__name__}: got {settings!r:.60} for settings; expected {self.kind.__name__}, "
                "or keywords such as hidden=64"
            )
        self.settings: S = settings or self.kind()
        self._named = self._unusual(self.settings)
        self._training_values: dict[str, object] = {}
        self._take(values)

    @property
    def train_settings(self) -> TrainSettings:
        """Bounds, optimizer and schedule; the task's own, but for the keywords that were given."""
        return self.training_of(self._training_values)

    @classmethod
    def training_of(cls, values: Mapping[str, object], *, has_start: bool = False) -> TrainSettings:
        """The task's own training with some values in place of its own: a run bounded by steps has no minutes, and one
        that starts from a model a lower learning rate.

        Raises:
            SettingsError: a value is out of its range.
        """
        usual = cls.default_training
        if has_start:
            usual = dataclasses.replace(usual, lr=LR_SHARE * usual.lr)
        whole: dict[str, object] = {**usual.to_dict(), "minutes": None, "steps": None, **values}
        if whole["steps"] is None and whole["minutes"] is None and whole["schedule"] in ("cosine", "linear"):
            whole["minutes"] = usual.minutes
        return TrainSettings.from_dict(whole)

    @classmethod
    def reading(cls, *, of_answers: bool) -> dict[str, dataclasses.Field]:
        """The settings of how files are read, by name: of inputs alone, or of the answers in them too."""
        wanted = ("inputs", "answers") if of_answers else ("inputs",)
        return {field.name: field for field in dataclasses.fields(cls.kind) if field.metadata["reads"] in wanted}

    def reads_by(self, *, of_answers: bool) -> set[str]:
        """Names of those that make a difference for this model."""
        return set(self.reading(of_answers=of_answers))

    def get_params(self, *, deep: bool = True) -> dict[str, object]:
        """All settings by name, the model's and its training's; without steps and minutes the training's are None."""
        return {**self._usual(), **self.settings.to_dict(), **self._training_values}

    @classmethod
    def _unusual(cls, settings: Settings) -> set[str]:
        """Names of settings that are not the default ones."""
        usual = cls.kind().to_dict()
        return {name for name, value in settings.to_dict().items() if value != usual[name]}

    @classmethod
    def _usual(cls) -> dict[str, object]:
        return {**cls.kind().to_dict(), **cls.default_training.to_dict(), "minutes": None, "steps": None}

    def _take(self, values: Mapping[str, object]) -> None:
        own = {field.name for field in dataclasses.fields(self.kind)}
        trained = {field.name for field in dataclasses.fields(TrainSettings)}
        for name in values:
            if name not in own | trained:
                near = difflib.get_close_matches(name, own | trained, n=1, cutoff=0.5)
                hint = f"Did you mean {near[0]!r}?" if near else "get_params() has them all"
                raise SettingsError(f"{type(self).__name__}: has no setting {name!r}. {hint}")
        settings = dataclasses.replace(self.settings, **{name: values[name] for name in values if name in own})
        training = self._training_values | {name: values[name] for name in values if name in trained}
        checked = self.training_of(training)
        self.settings = settings
        # a clone names them all
        self._named |= {name for name in own if name in values} if not own <= values.keys() else self._unusual(settings)
        self._training_values = {
            name: value if value is None else getattr(checked, name) for name, value in training.items()
        }

    def __repr__(self) -> str:
        """The class with the settings that are not its own, such as "ClassifyModel(hidden=64)"."""
        usual = self._usual()
        changed = {name: value for name, value in self.get_params().items() if value != usual[name]}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    def __sklearn_tags__(self) -> object:
        """What scikit-learn asks of a model; only it calls this."""
        sklearn = optional_libraries.library("sklearn.utils", "this needs", "sklearn")
        is_classifier, is_regressor = (self.estimator_type == name for name in ("classifier", "regressor"))
        return sklearn.Tags(
            estimator_type=self.estimator_type,
            target_tags=sklearn.TargetTags(required=is_classifier or is_regressor),
            classifier_tags=sklearn.ClassifierTags() if is_classifier else None,
            regressor_tags=sklearn.RegressorTags() if is_regressor else None,
            input_tags=sklearn.InputTags(string=True, three_d_array=True),
        )
