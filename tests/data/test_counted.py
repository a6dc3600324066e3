import pytest

from unrolled.data.counted import counted


@pytest.mark.parametrize(
    ("n", "words", "told"),
    [
        (1, "text", "1 text"),
        (0, "text", "0 texts"),
        (2000, "class", "2,000 classes"),
        (1, "sound[|s] [is|are] clipped", "1 sound is clipped"),
        (3, "sound[|s] [is|are] clipped", "3 sounds are clipped"),
        (1, "series [was|were] not in order", "1 series was not in order"),
        (2, "series [was|were] not in order", "2 series were not in order"),
    ],
)
def test_one_of_a_thing_is_not_told_as_several(n, words, told):
    assert counted(n, words) == told
