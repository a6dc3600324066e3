"""A model refuses data of whose answers it knows none: metrics on them would say nothing."""

import pytest

from unrolled import ClassifyModel, TagModel, UnderstandModel
from unrolled.errors import DataError
from unrolled.tasks.checkup import checkup_of

SMALL = {"hidden": 4, "words": 4, "steps": 2}
DATA = {
    "labels": [("good food", "yes"), ("bad food", "no")] * 20,
    "tags": [(["in", "Paris"], ["O", "B-city"]), (["by", "Anna", "May"], ["O", "B-name", "I-name"])] * 20,
    "intents": [("show flights", ["O", "O"], "flight"), ("to Paris", ["O", "B-city"], "goal")] * 20,
}
STRANGE = {
    "labels": [("good food", "0.1"), ("bad", "0.2")] * 3,
    "tags": [(["in", "Paris"], ["O", "B-PLACE"])] * 3,
    "intents": [("show flights", ["O", "O"], "atis_flight")] * 3,
}
TOLD = {
    "labels": "'0.1', '0.2'; it knows 'no', 'yes'",
    "tags": "'PLACE'; it knows 'name', 'city'",
    "intents": "'atis_flight'; it knows 'flight', 'goal'",
}


@pytest.mark.parametrize(
    ("what", "kind"), [("labels", ClassifyModel), ("tags", TagModel), ("intents", UnderstandModel)]
)
def test_data_whose_answers_are_all_strange_are_refused(what, kind):
    model = kind(**SMALL).fit(DATA[what])
    for verb in (model.evaluate, lambda data: checkup_of(model, data)):
        with pytest.raises(DataError) as caught:
            verb(STRANGE[what])
        assert str(caught.value) == (
            f"the model knows none of the {what} of these data: {TOLD[what]}. Name files with the answers that it was "
            "trained for"
        )
    assert model.evaluate([*STRANGE[what], *DATA[what][:2]])["model"]  # a few strange ones count as wrong


def test_sentences_without_any_entity_are_evaluated():
    assert "f1" in TagModel(**SMALL).fit(DATA["tags"]).evaluate([(["in", "May"], ["O", "O"])])["model"]
