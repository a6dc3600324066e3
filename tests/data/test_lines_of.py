"""Lines of files as they come: the same as of the whole text, in any encoding, however it is cut."""

import gzip

import pytest

from unrolled.data.items import is_utf8, lines_of, opened_file
from unrolled.errors import DataError

TEXTS = {
    "plain": ["good food", "bad soup"] * 3,
    "long": ["x" * 5000, "é" * 9000, "汤" * 70_000, "end"],
    "blank": ["", "a", "", "", "b"],
    "Chinese": ["汤很好", "天气不错"] * 2000,
    "odd ends": ["a\u2028b", "c\x0bd", "e\x85f"],
}
WIDE = ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le"]


def written(path, text, encoding):
    content = text.encode(encoding)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("encoding", [*WIDE, "utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("suffix", ["txt", "txt.gz"])
def test_lines_are_those_of_the_whole_text(name, encoding, end, suffix, tmp_path):
    path = written(tmp_path / f"a.{suffix}", end.join(TEXTS[name]), encoding)
    told = encoding if "-" in encoding[4:] and encoding in WIDE else "utf-8"  # a byte-order mark tells the others
    assert list(lines_of(opened_file(path), "a", told)) == TEXTS[name]
    assert list(lines_of(opened_file(written(path, end.join([*TEXTS[name], ""]), encoding)), "a", told)) == TEXTS[name]


@pytest.mark.parametrize("encoding", WIDE)
def test_what_is_cut_or_empty_is_told(encoding, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("good\nbad\n".encode(encoding)[:-1])
    with pytest.raises(DataError, match=r"^a, line \d: is not .*\. Pass --encoding with the right one$"):
        list(lines_of(opened_file(path), "a", encoding))
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"^a: is empty; expected a text a line$"):
        list(lines_of(opened_file(path), "a", encoding))


@pytest.mark.parametrize("at", [0, 10, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20])
def test_a_file_is_utf8_to_its_end_or_not(at, tmp_path):
    text = ("é" * (4 * 2**20 // 2)).encode()
    path = tmp_path / "a.txt"
    path.write_bytes(text)
    assert is_utf8(path)
    path.write_bytes(text[:at] + b"\xff" + text[at:])
    assert not is_utf8(path)
    path.write_bytes(gzip.compress(text[:at] + b"\xe9", 1))
    assert not is_utf8(path)
    path.write_bytes(b"\xef\xbb\xbf" + text[: at - at % 2])
    assert is_utf8(path)
