"""Parquet files that ask for too much memory, or are damaged: one line each."""

import io
import random

import pytest

from unrolled.data import table
from unrolled.data.table import read_table
from unrolled.errors import DataError

polars = pytest.importorskip("polars")


def test_more_values_than_the_bound_are_told_before_they_take_memory(tmp_path):
    path = tmp_path / "bomb.parquet"
    polars.DataFrame({"a": polars.zeros(table.MOST_CELLS + 1, polars.Int8, eager=True)}).write_parquet(path)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(DataError) as caught:
        read_table([path])
    assert str(caught.value) == (f"{path}: holds 50,000,001 values; at most 50,000,000 are read. Cut it into parts")


def test_damaged_files_are_read_or_told(tmp_path):
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
