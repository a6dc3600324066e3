"""Files as they lie, and what is said of those that cannot be used."""

import re

import pytest

from unrolled.data.corpus import read_corpus
from unrolled.errors import DataError


def test_files_are_joined_in_their_order(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r")
    (tmp_path / "b").write_text("drei", encoding="utf-8")
    corpus = read_corpus([tmp_path / "a", tmp_path / "b"])
    assert corpus.text == "one\ntwo\ndrei"
    assert corpus.files == (str(tmp_path / "a"), str(tmp_path / "b"))
    assert read_corpus([tmp_path / "a"], as_bytes=True).data == b"\xef\xbb\xbfone\r\ntwo\r"


def test_other_encodings(tmp_path):
    (tmp_path / "a").write_text("größe", encoding="latin-1")
    assert read_corpus([tmp_path / "a"], encoding="latin-1").text == "größe"
    (tmp_path / "b").write_text("größe", encoding="utf-16")
    assert read_corpus([tmp_path / "b"], encoding="utf-16").text == "größe"
    assert read_corpus([tmp_path / "b"]).text == "größe"  # it has a byte-order mark


def test_no_file_is_the_standard_library():
    corpus = read_corpus([])
    assert len(corpus.text) > 1_000_000
    assert "def dataclass(" in corpus.text
    assert corpus.name == "the Python standard library's source"
    assert read_corpus([]).sha256 == corpus.sha256


def test_all_faults_are_told_at_once_word_for_word(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "bad").write_bytes(b"fine\nf\xfcnf\n")
    (tmp_path / "wide").write_bytes("text of length".encode("utf-16-le"))
    (tmp_path / "cut").write_bytes("é".encode()[:1])
    names = ["absent", "empty", ".", "bad", "wide", "cut"]
    with pytest.raises(DataError) as caught:
        read_corpus([tmp_path / name for name in names])
    advice = "or --units byte to learn from raw bytes"
    assert str(caught.value).replace(f"{tmp_path}/", "").split("; ") == [
        "absent: no such file",
        ["empty: is empty", "expected a text or a table"][0],
        "expected a text or a table",
        f"{tmp_path}: is a folder",
        f"name the files in it, such as {tmp_path}/*.txt".replace(f"{tmp_path}/", ""),
        f"bad, line 2: byte 0xfc is not utf-8. Pass --encoding with the right one (such as latin-1), {advice}",
        f"wide: has two bytes for each character, as in utf-16-le. Pass --encoding utf-16-le, {advice}",
        f"cut, line 1: byte 0xc3 is not utf-8. Pass --encoding with the right one (such as latin-1), {advice}",
    ]


def test_an_unknown_encoding_is_told(tmp_path):
    (tmp_path / "a").write_text("a")
    with pytest.raises(
        DataError, match=re.escape("encoding 'utf-9' is not known; expected one of Python's, such as utf-8")
    ):
        read_corpus([tmp_path / "a"], encoding="utf-9")
