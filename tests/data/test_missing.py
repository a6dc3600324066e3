"""Codes for missing values that a user names: empty wherever they stand, however a number is written, and told."""

import numpy as np
import pytest

import unrolled
from unrolled.data.missing import codes_of, without_codes
from unrolled.data.table import Table

DAYS = np.arange("2020-01-01", 30, dtype="datetime64[D]").astype(str).tolist()
#: by code: how files write it
WRITTEN = {
    "-200": ["-200", "-200.0", "-200,0", " -200 ", "\u2212200", "-2e2"],
    "9999": ["9999", "9999.00", "+9999"],
    "-99.9": ["-99.9", "-99,9", "-99.90"],
    "none measured": ["none measured", "None Measured", " NONE MEASURED "],
    "*": ["*", " * "],
    "//": ["//"],
}


def table_of(cells):
    columns = {"day": DAYS, "load": cells, "temp": [str(i) for i in range(30)]}
    return Table(columns, [f"t, line {i}" for i in range(30)], "t")


@pytest.mark.parametrize("code", WRITTEN)
def test_a_code_is_missing_however_it_is_written(code):
    for written in WRITTEN[code]:
        cells = [written if i % 5 == 2 else f"{i}.5" for i in range(30)]
        notes = []
        found = without_codes(table_of(cells), codes_of(code), ["day"], notes)
        assert found.columns["load"] == ["" if i % 5 == 2 else f"{i}.5" for i in range(30)]
        assert (found.columns["day"], found.columns["temp"]) == (DAYS, [str(i) for i in range(30)])
        assert notes == [f"column 'load': 6 values are {code}, and missing"]


@pytest.mark.parametrize("code", WRITTEN)
def test_other_values_stay_and_a_code_that_is_nowhere_is_told(code):
    cells = ["200", "-2000", "-20", "999", "99999", "-99.91", "none", "**", "/", "-", "NA", ""] + ["1"] * 18
    notes = []
    assert without_codes(table_of(cells), codes_of(code), [], notes).columns["load"] == cells
    assert notes == [f"--missing {code}: stands in no column"]


def test_several_codes_and_none():
    cells = ["-200", "9999", "x"] * 10
    notes = []
    found = without_codes(table_of(cells), codes_of(" -200, 9999,, x"), ["day", "temp"], notes)
    assert found.columns["load"] == [""] * 30
    assert notes == [f"column 'load': 10 values are {code}, and missing" for code in ("-200", "9999", "x")]
    assert without_codes(table := table_of(cells), codes_of(""), [], []) is table


@pytest.mark.parametrize("code", WRITTEN)
def test_a_forecast_reads_them_as_missing_and_so_later_files(code, tmp_path, call):
    cells = [WRITTEN[code][0] if i % 7 == 3 else str(10 + i % 5) for i in range(30)]
    path = tmp_path / "a.csv"
    rows = [f'{day},"{cell}"' for day, cell in zip(DAYS, cells, strict=True)]
    path.write_text("\n".join(["day,load", *rows]) + "\n", encoding="utf-8")
    found = unrolled.ForecastModel(horizon=2, missing=code).read([path])
    assert found.known[0].tolist() == [i % 7 != 3 for i in range(3 * (30 // 3))]
    assert any(
        note.endswith("in a straight line between their neighbors, and count in no metric") for note in found.notes
    )
    words = ["--missing", code, "--horizon", 2, "--context", 5, "--hidden", 4, "--season", 5, "--steps", 1]
    assert call("train", "forecast", path, *words, "--folder", tmp_path / "run")[0] == 0
    code_of, _, err = call("evaluate", tmp_path / "run", path)
    assert (code_of, f"column 'load': 4 values are {code}, and missing" in err) == (0, True)
