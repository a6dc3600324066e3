"""Settings as keywords: what scikit-learn's tools and people from there expect of a model."""

import numpy as np
import pytest

import unrolled
from unrolled import tasks
from unrolled.errors import ModelFileError, SettingsError

MODELS = [tasks.task(name).Model for name in tasks.names()]
PAIRS = [("good food, fast", "up"), ("cold and late", "down"), ("so good", "up"), ("late again", "down")] * 10


def names(models):
    return pytest.mark.parametrize("kind", models, ids=lambda kind: kind.task)


@names(MODELS)
def test_keywords_say_what_a_dataclass_says(kind):
    by_keyword = kind(batch=3, steps=7, lr=0.5)
    assert by_keyword.settings == kind(kind.kind(batch=3)).settings == kind(kind.kind(batch=9), batch=3).settings
    assert (by_keyword.train_settings.steps, by_keyword.train_settings.lr) == (7, 0.5)
    assert by_keyword.train_settings.minutes is None  # a run bounded by steps has no minutes
    assert kind().train_settings == kind.default_training
    assert repr(by_keyword) == f"{kind.__name__}(batch=3, steps=7, lr=0.5)"


@names(MODELS)
def test_parameters_make_the_same_model_again_and_are_the_same_objects(kind):
    model = kind(batch=np.int64(3), steps=np.int64(7), lr=np.float64(0.123456))
    found = model.get_params(deep=False)
    again = kind(**found)
    assert all(again.get_params()[name] is value for name, value in found.items())
    assert type(found["batch"]) is type(found["steps"]) is int
    assert again.set_params(batch=4) is again
    assert again.get_params() == {**found, "batch": 4}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"hiden": 8}, "ClassifyModel: has no setting 'hiden'. Did you mean 'hidden'?"),
        ({"classifier__hidden": 8}, "ClassifyModel: has no setting 'classifier__hidden'. Did you mean 'hidden'?"),
        ({"zzzz": 8}, "ClassifyModel: has no setting 'zzzz'. get_params() has them all"),
        ({"hidden": 0}, "hidden=0: expected at least 1"),
        ({"hidden": 8, "lr": "fast"}, "lr='fast': expected a number"),
    ],
)
def test_faults_of_keywords_are_told_and_set_nothing(values, text):
    with pytest.raises(SettingsError) as caught:
        unrolled.ClassifyModel(**values)
    assert str(caught.value) == text
    model = unrolled.ClassifyModel(hidden=5)
    with pytest.raises(SettingsError):
        model.set_params(**values)
    assert repr(model) == "ClassifyModel(hidden=5)"


def test_settings_of_another_kind_are_refused():
    with pytest.raises(SettingsError) as caught:
        unrolled.ClassifyModel({"hidden": 8})
    assert str(caught.value) == (
        "ClassifyModel: got {'hidden': 8} for settings; expected ClassifySettings, or keywords such as hidden=64"
    )


def test_fit_returns_the_model_and_new_settings_drop_what_is_fitted():
    model = unrolled.ClassifyModel(hidden=4, steps=2)
    assert model.result is None
    assert model.fit([text for text, _ in PAIRS], [label for _, label in PAIRS]) is model
    assert model.result.steps == 2
    model.set_params()
    assert model.predict("so good").labels
    model.set_params(hidden=5)
    with pytest.raises(ModelFileError, match=r"^the model is not fitted yet"):
        model.predict("so good")
