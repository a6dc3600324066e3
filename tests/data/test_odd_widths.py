"""A line of a CoNLL file that has another number of columns than the others: told with its own line, first or not."""

import random

import pytest

from unrolled.data.tagged import read_tagged
from unrolled.errors import DataError


def sentences(width, n=6, length=4):
    """Lines of some sentences, and the numbers of the lines with tokens."""
    draw, lines, at = random.Random(width), [], []
    for i in range(n):
        for j in range(length):
            beside = [draw.choice("NVA") for _ in range(width - 2)]
            at.append(len(lines) + 1)
            lines.append([f"w{i}-{j}", *beside, "B-x" if j % 2 else "O"])
        lines.append([])
    return lines, at


def told(path, lines, mark):
    path.write_text("\n".join(mark.join(line) for line in lines) + "\n")
    with pytest.raises(DataError) as caught:
        read_tagged([path])
    return str(caught.value)


def columns(n):
    return f"{n} column{'s' if n > 1 else ''}"


@pytest.mark.parametrize("width", [2, 3, 5])
@pytest.mark.parametrize("more", [-1, 1, 2])
@pytest.mark.parametrize("mark", [" ", "\t"])
def test_each_line_that_is_odd_is_told_alone(width, more, mark, tmp_path):
    if width + more < 2:
        return  # such a line has no tag: told as that
    lines, at = sentences(width)
    for place in (at[0], at[1], at[3], at[8], at[10], at[-4], at[-1]):
        odd = [each if i + 1 != place else ["x", *["N"] * (width + more - 2), "O"] for i, each in enumerate(lines)]
        where = "after it" if place == 1 or not lines[place - 2] else "before"
        assert told(tmp_path / "a.conll", odd, mark) == (
            f"{tmp_path / 'a.conll'}, line {place}: has {columns(width + more)}, the sentence's lines {where} {width}"
        )


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("length", [2, 3])
def test_of_a_sentence_of_two_lines_the_odd_one_is_that_unlike_most_of_the_file(is_first, length, tmp_path):
    lines, at = sentences(3, length=length)
    for start in (at[0], at[2 * length], at[-length]):
        place = start if is_first else start + length - 1
        odd = [each if i + 1 != place else ["x", "O"] for i, each in enumerate(lines)]
        assert told(tmp_path / "a.conll", odd, " ").startswith(f"{tmp_path / 'a.conll'}, line {place}: has 2 columns, ")
        assert "\n" not in told(tmp_path / "a.conll", odd, " ")


@pytest.mark.parametrize("number", [0, 2, 5])
@pytest.mark.parametrize("width", [2, 4])
def test_a_whole_sentence_of_another_width_is_told(number, width, tmp_path):
    lines, at = sentences(3)
    start = at[4 * number] - 1
    for i in range(start, start + 4):
        lines[i] = ["x", *["N"] * (width - 2), "O"]
    path = tmp_path / "a.conll"
    which = "most sentences have 3" if number == 0 else "the first sentence has 3"
    if width == 2:
        assert told(path, lines, " ") == f"{path}, line {start + 1}: has no column 3, but 2"
    else:
        assert told(path, lines, " ") == (
            f"{path}, line {start + 1}: has 4 columns, {which}; expected as many, or --tag with the number of the column "
            "with the tags"
        )
