"""Parquet files that ask for too much memory, or are damaged: one line each."""

import io
import random

import pytest

from unrolled.data import parquet
from unrolled.data.table import read_table
from unrolled.errors import DataError

polars = pytest.importorskip("polars")


def test_more_values_than_the_bound_are_told_before_they_take_memory(tmp_path):
    path = tmp_path / "bomb.parquet"
    polars.DataFrame({"a": polars.zeros(parquet.MOST_CELLS + 1, polars.Int8, eager=True)}).write_parquet(path)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(DataError) as caught:
        read_table([path])
    assert str(caught.value) == (f"{path}: holds 50,000,001 values; at most 50,000,000 are read. Cut it into parts")


def test_a_text_that_is_kept_once_and_stands_in_each_row_is_told_before_it_takes_memory(tmp_path):
    path, n = tmp_path / "bomb.parquet", 1100
    polars.DataFrame({"a": polars.repeat("x" * 10**6, n, eager=True), "b": ["y"] * n}).write_parquet(path)
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError) as caught:
        read_table([path])
    assert str(caught.value) == (
        f"{path}: holds 1,100,001,100 bytes of text; at most 1,073,741,824 are read. Cut it into parts"
    )


def test_lists_count_by_what_they_hold(tmp_path, monkeypatch):
    path = tmp_path / "lists.parquet"
    polars.DataFrame({"a": [[1] * 60] * 3}).write_parquet(path)
    assert len(read_table([path])) == 3
    monkeypatch.setattr(parquet, "MOST_CELLS", 100)
    with pytest.raises(DataError) as caught:
        read_table([path])
    assert str(caught.value) == f"{path}: holds 180 values; at most 100 are read. Cut it into parts"


def test_damaged_files_are_read_or_told(tmp_path, capfd):
    content = io.BytesIO()
    polars.DataFrame({"a": list(range(200)), "b": [str(i) for i in range(200)]}).write_parquet(content)
    draw, n_refused = random.Random(1), 0
    path = tmp_path / "odd.parquet"
    for _ in range(60):
        damaged = bytearray(content.getvalue())
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            read_table([path])
        except DataError as fault:
            assert str(fault).startswith(f"{path}: ")  # noqa: PT017 - either way is right, no other error is
            n_refused += 1
    assert n_refused > 20
    assert capfd.readouterr() == ("", "")  # polars' runtime prints a trace of each panic
