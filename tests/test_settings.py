"""Options are declared once: ranges hold, and the command line offers every one of them with its help."""

import dataclasses

import pytest

from unrolled.cli import main
from unrolled.cli.train import train
from unrolled.errors import SettingsError
from unrolled.nn.named_layers import LAYER_NAMES
from unrolled.tasks.capabilities import GenerateSettings
from unrolled.tasks.text.settings import TextSettings
from unrolled.training.settings import TrainSettings


@pytest.mark.parametrize("kind", [TextSettings, TrainSettings, GenerateSettings])
def test_every_field_has_help_and_an_option(kind):
    command = main.generate if kind is GenerateSettings else train.commands["text"]
    options = {parameter.name: parameter for parameter in command.params}
    for field in dataclasses.fields(kind):
        assert len(field.metadata["help"]) > 5
        assert options[field.name].help.startswith(
            field.metadata["help"]
        )  # what a task's own defaults add stands behind
        assert options[field.name].default == field.default


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"dropout": 1.0}, "dropout=1.0: expected at most 0.95"),
        ({"hidden": 1.5}, "hidden=1.5: expected a whole number"),
        ({"hidden": None}, "hidden: expected a whole number, got None"),
        ({"validation": 0}, "validation=0: expected more than 0"),
        ({"validation": float("nan")}, "validation=nan: expected a finite number"),
        ({"encoding": 3}, "encoding=3: expected a text"),
        ({"cell": "x"}, f"cell='x': expected one of {', '.join(LAYER_NAMES)}"),
    ],
)
def test_faults_are_told_word_for_word(changed, text):
    with pytest.raises(SettingsError) as caught:
        TextSettings(**changed)
    assert str(caught.value) == text
