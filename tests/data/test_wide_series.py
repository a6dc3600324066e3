"""A series in each row, as M4 has them: read; tables of other forms are not; columns named by times are told."""

import io

import numpy as np
import pandas
import pytest

import unrolled
from unrolled.data.wide_series import wide_table
from unrolled.errors import DataError

LENGTHS = [40, 55, 31, 60]
VALUES = [[round(10 + i + j % 7 + 0.25, 2) for j in range(n)] for i, n in enumerate(LENGTHS)]
NAMES = {"M4": "YQMH", "words": ["north", "South Side", "é", "shop-4"], "coded": ["T1", "T10", "T2", "a1b"]}


def names_of(kind):
    return [f"{each}{i + 1}" for i, each in enumerate(NAMES[kind])] if kind == "M4" else NAMES[kind]


def rows_of(kind, *, is_padded, is_quoted, head, mark):
    """Lines of a file in the form of M4; `head` names the columns."""
    width = 1 + max(LENGTHS)
    rows = [[name, *map(str, values)] for name, values in zip(names_of(kind), VALUES, strict=True)]
    rows = [row + [""] * (width - len(row)) for row in rows] if is_padded else rows
    heads = {"V": [f"V{i + 1}" for i in range(width)], "numbers": ["id", *map(str, range(1, width))], None: None}[head]
    rows = [heads, *rows] if heads else rows
    return [mark.join(f'"{cell}"' if is_quoted else cell for cell in row) for row in rows]


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("is_padded", [True, False])
@pytest.mark.parametrize("is_quoted", [True, False])
@pytest.mark.parametrize("head", ["V", "numbers", None])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_each_row_is_a_series(kind, is_padded, is_quoted, head, mark, tmp_path):
    path = tmp_path / "Yearly-train.csv"
    lines = rows_of(kind, is_padded=is_padded, is_quoted=is_quoted, head=head, mark=mark)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = unrolled.ForecastModel(horizon=3).read([path])
    assert found.names == names_of(kind)
    assert [each.tolist() for each in found.values] == VALUES
    assert "each row is a series, which its first cell names: 4 of 31 to 60 values without stamps" in found.notes


def regular(columns):
    frame = pandas.DataFrame(columns)
    return frame.to_csv(index=False)


DAYS = pandas.date_range("2020-01-01", periods=30).strftime("%Y-%m-%d").tolist()
NUMBERS = {f"x{i}": np.arange(30) % (i + 2) for i in range(5)}
#: tables that are no series in rows
OTHERS = {
    "dates and columns": regular({"day": DAYS, **NUMBERS}),
    "dates and counted columns": regular({"V1": DAYS, **{f"V{i + 2}": each for i, each in enumerate(NUMBERS.values())}}),
    "months and counted columns": regular({"V1": ["Jan", "Feb", "Mar"] * 10, **{f"V{i + 2}": each for i, each in enumerate(NUMBERS.values())}}),
    "kinds and columns": regular({"shop": ["a", "b"] * 15, **NUMBERS}),
    "kinds twice and counted columns": regular({"V1": ["a", "b"] * 15, **{f"V{i + 2}": each for i, each in enumerate(NUMBERS.values())}}),
    "names and columns": regular({"who": [f"n{i}" for i in range(30)], **NUMBERS}),
    "few counted columns": regular({"V1": [f"n{i}" for i in range(30)], **{f"V{i + 2}": each for i, each in enumerate(NUMBERS.values())}}),
    "numbers": regular(NUMBERS),
    "years and months": regular({"Year": range(1949, 1979), **{str(i + 1): range(30) for i in range(12)}}),
    "quarters": "\n".join(f"{1990 + i // 4}Q{i % 4 + 1},{i},{i + 1},{i + 2}" + ",5" * (i % 2) for i in range(20)),
    "clock": "\n".join(f"at 10:{i},{i},{i + 1},{i + 2}" + ",5" * (i % 2) for i in range(20)),
    "two columns": "a,1\nb,2\nc,\n",
    "texts": "a,so,is,it\nb,is,so\n",
    "text among numbers": "a,1,2,3,4\nb,1,2,x\n",
    "JSON": '{"a": [1, 2, 3]}\n',
    "lines": "one\ntwo\n",
    "even rows without names": "\n".join(f"n{i},{i},{i},{i},{i}" for i in range(30)),
    "rows longer than the names": "V1,V2,V3,V4,V5\na,1,2,3,4,5,6\nb,1,2\n",
    "days of a calendar": "day,one\n" + "".join(f"Day {i},{i},{i},{i}" + ",5" * (i % 2) + "\n" for i in range(20)),
    "open quote": 'a,1,2,3,4\nb,"1,2\n',
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_no_other_table_is_taken_for_it(name, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(OTHERS[name])
    assert wide_table([path], "utf-8") is None


def test_missing_values_are_drawn_and_rows_without_values_told(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("V1,V2,V3,V4,V5\nY1,1,2,,4\nY2,1,NA,3\nY3,5,6,7,8\n")
    found = unrolled.ForecastModel(horizon=1, max_missing=0.5).read([path])
    assert [each.tolist() for each in found.values] == [[1, 2, 3, 4], [1, 2, 3], [5, 6, 7, 8]]
    path.write_text("V1,V2,V3,V4,V5\nY1,1,2,3,4\nY2,,,,\n")
    with pytest.raises(DataError, match=r"the series 'Y2' holds no numbers$"):
        unrolled.ForecastModel(horizon=1).read([path])


def test_options_that_name_columns_make_it_a_table(tmp_path):
    path = tmp_path / "a.csv"
    lines = rows_of("M4", is_padded=True, is_quoted=False, head="V", mark=",")
    path.write_text("\n".join(lines) + "\n")
    found = unrolled.ForecastModel(horizon=1, target="V2", time="row").read([path])
    assert found.values[0].tolist() == [each[0] for each in VALUES]


def test_a_model_learns_such_rows_and_forecasts_them(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\n".join(rows_of("M4", is_padded=False, is_quoted=True, head="V", mark=",")) + "\n")
    settings = unrolled.ForecastSettings(horizon=3, context=7, hidden=4, season=7)
    model = unrolled.ForecastModel(settings).fit([path], train=unrolled.TrainSettings(steps=2, precision="float32"))
    model.save(tmp_path / "m.safetensors")
    model = unrolled.ForecastModel.load(tmp_path / "m.safetensors")
    assert [each.series for each in model.predict_table([path])] == names_of("M4")
    assert model.evaluate([path])


@pytest.mark.parametrize("stamps", [list(range(1960, 1990)), DAYS, [f"{2000 + i // 4}Q{i % 4 + 1}" for i in range(30)]])
@pytest.mark.parametrize("beside", [["Country Name"], ["Country Name", "Code"], ["shop", "kind"]])
def test_columns_that_are_times_are_told_how_to_turn(stamps, beside, tmp_path):
    columns = {name: [f"{name} {i}" for i in range(6)] for name in beside}
    columns |= {str(stamp): [10 * i + k % 5 for i in range(6)] for k, stamp in enumerate(stamps)}
    path = tmp_path / "a.csv"
    path.write_text(regular(columns))
    with pytest.raises(DataError) as caught:
        unrolled.ForecastModel(horizon=2).read([path])
    told = str(caught.value).partition(". If each row is a series over ")[2]
    assert told.startswith(
        f"'{stamps[0]}' to '{stamps[-1]}', turn the table first: pandas.read_csv(FILE).melt({beside}, "
    )
    long = pandas.read_csv(io.StringIO(regular(columns))).melt(beside, var_name="time")
    (tmp_path / "long.csv").write_text(long.to_csv(index=False))
    found = unrolled.ForecastModel(horizon=2, series=beside[0], time="time", target="value").read(
        [tmp_path / "long.csv"]
    )
    assert told.endswith(
        f"then pass --series {beside[0] if ' ' not in beside[0] else repr(beside[0])} --time time --target value"
    )
    assert [each.tolist() for each in found.values] == [[10 * i + k % 5 for k in range(30)] for i in range(6)]


COUNTS = [str(i + 1) for i in range(24)]
STAMPS = ["%d %b %Y", "%B %d %Y", "%a %d %b %Y", "%Y-%m-%d", "%d.%m.%y", "%m/%d/%Y", "%Y-%m", "%d-%b-%Y"]
WORDED = [f"Q{i % 4 + 1} {2000 + i // 4}" for i in range(30)]


@pytest.mark.parametrize("head", ["V", "numbers"])
@pytest.mark.parametrize("stamps", [*STAMPS, None])
def test_rows_of_a_day_with_a_column_an_hour_are_no_series_each(stamps, head, tmp_path):
    """An hour in each column, a day in each row: each day was taken for a series of its own."""
    days = WORDED if stamps is None else pandas.date_range("2020-01-29", periods=30, freq="31D").strftime(stamps)
    names = [f"V{i + 1}" for i in range(25)] if head == "V" else ["x", *COUNTS]
    lines = [",".join(names), *(",".join([day, *COUNTS]) for day in days)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    assert wide_table([tmp_path / "a.csv"], "utf-8") is None


@pytest.mark.parametrize("name", ["day", "Week", "date", "YEAR", "time"])
def test_a_first_column_that_is_named_as_time_names_no_series(name, tmp_path):
    lines = [",".join([name, *COUNTS]), *(",".join([f"d{i}", *COUNTS]) for i in range(30))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    assert wide_table([tmp_path / "a.csv"], "utf-8") is None


@pytest.mark.parametrize("first", ["country", "id", "shop 1"])
@pytest.mark.parametrize(
    "names",
    [range(2001, 2009), [202011, 202012, 202101, 202102], [1960, 1970, 1980, 2000], range(0, 80, 10), range(5, 12)],
)
def test_names_of_columns_above_a_short_row_are_no_values(names, first, tmp_path):
    """One row that is cut off made the years above all rows a series."""
    rows = [[first, *map(str, names)], *([f"n{i}", *["7"] * len(names)] for i in range(9)), ["last", "7", "7"]]
    (tmp_path / "a.csv").write_text("\n".join(map(",".join, rows)))
    assert wide_table([tmp_path / "a.csv"], "utf-8") is None


@pytest.mark.parametrize("letter", "YQMWDHTS")
@pytest.mark.parametrize("n", [2, 30, 300])
def test_numbered_names_of_any_letter_name_series(letter, n, tmp_path):
    rows = [[f"{letter}{i + 1}", *[str(1 + i * j % 9) for j in range(4 + i % 5)]] for i in range(n)]
    (tmp_path / "a.csv").write_text("\n".join(map(",".join, rows)))
    assert len(set(wide_table([tmp_path / "a.csv"], "utf-8").columns["series"])) == n
