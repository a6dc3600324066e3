"""Tables become series: columns and frequencies are found, rules for what is missing are kept, faults told."""

import contextlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data.frequency import Frequency
from unrolled.data.series import calendar_of
from unrolled.data.series_table import read_series
from unrolled.data.stamps import Reads
from unrolled.data.table import Table
from unrolled.errors import DataError


def table(text):
    head, *rows = [line.split(",") for line in text.strip().split("\n")]
    columns = {name: [row[i] for row in rows] for i, name in enumerate(head)}
    return Table(columns, [f"t.csv, line {i + 2}" for i in range(len(rows))], "t.csv")


def test_a_single_series_is_found():
    data = read_series(table("day,x\n2024-01-03,3\n2024-01-01,1\n2024-01-05,5"))
    assert data.values[0].tolist() == [1, 3, 5]
    assert data.frequency.words == "every 2 days"
    assert data.notes == ("1 series of 3 values, every 2 days", "1 series was not in the order of time and is sorted")


def test_gaps_are_lines_and_told():
    data = read_series(
        table(
            "time,x\n"
            + "\n".join(f"2024-01-01 {h:02}:00,{h}" for h in range(24) if h not in (5, 6))
            + "\n2024-01-02 00:00,NA"
        )
    )
    assert data.values[0].tolist() == list(range(24))
    assert (
        data.notes[-1]
        == "2 missing values are drawn in a straight line between their neighbors, and count in no metric"
    )
    assert data.frequency.season == 24


@pytest.mark.parametrize(
    ("stamps", "words", "season"),
    [
        (["Jan 1 2000", "Feb 1 2000", "Mar 1 2000"], "every month", 12),
        (["2020-03", "2020-06", "2020-09", "2020-12"], "every 3 months", 4),
        (["31.01.2020", "01.02.2020", "02.02.2020"], "every day", 7),
        (["2020-01-01", "2020-01-08", "2020-01-15"], "every week", 52),
        (["2020-01-01 00:00:00", "2020-01-01 00:15:00", "2020-01-01 00:30:00"], "every 15 minutes", 96),
        (["2020-01-01", "2021-01-01", "2022-01-01"], "every year", 1),
        (["1", "2", "3"], "row by row", 1),
    ],
)
def test_frequencies(stamps, words, season):
    data = read_series(
        table("ds,x\n" + "\n".join(f"{stamp},{i}" for i, stamp in enumerate(stamps))), time="ds", target="x"
    )
    assert (data.frequency.words, data.frequency.season) == (words, season)
    assert len(data.values[0]) == len(stamps)


def test_stamps_without_a_frequency_are_taken_as_even():
    days = ["2024-01-05", "2024-01-06", "2024-01-09", "2024-01-10", "2024-01-15"]
    data = read_series(table("date,x\n" + "\n".join(f"{day},{i}" for i, day in enumerate(days))))
    assert data.values[0].tolist() == [0, 1, 2, 3, 4]
    assert data.notes[0] == (
        "the stamps follow no frequency (every day 2 times, every 3 days 1 time, every 5 days 1 time): "
        "rows are taken as evenly spaced, forecasts bear numbers"
    )


def test_long_and_wide_tables():
    long = read_series(
        table("id,date,v\na,2024-01-01,1\nb,2024-01-01,5\na,2024-01-02,2\nb,2024-01-02,6"), target="v", series="id"
    )
    wide = read_series(table("date,a,b\n2024-01-01,1,5\n2024-01-02,2,6"), target="*")
    assert long.names == wide.names == ["a", "b"]
    assert [each.tolist() for each in long.values] == [each.tolist() for each in wide.values] == [[1, 2], [5, 6]]
    assert [each.tolist() for each in read_series(table("a,b\n1,5\n2,6"), target="a, b").values] == [[1, 2], [5, 6]]


def test_covariates_and_what_is_static():
    text = "id,date,v,price,rain,kind\na,2024-01-01,1,3,0,x\na,2024-01-02,2,,1,x\na,2024-01-03,,5,,x\nb,2024-01-01,1,7,0,y\nb,2024-01-02,1,7,0,y"
    data = read_series(table(text), target="v", series="id", future=["price"], past=["rain"], static=["kind"])
    assert data.values[0].tolist() == [1, 2]
    np.testing.assert_array_equal(
        data.covariates[0], [[3, 0], [3, 1], [5, np.nan]]
    )  # the price of the third day is known
    assert data.static.tolist() == [[1, 0], [0, 1]]
    assert data.n_future == 1


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("date,x,y\n2024-01-01,a,1\n2024-01-32,b,2", {"target": "x", "time": "date"},
         ["t.csv, line 3, column 'date': '2024-01-32' is no time; expected it as '2024-01-01'"]),
        ("date,x,y\n2024-01-01,a,1\n2024-01-02,b,2", {"target": "x", "time": "date"},
         ["t.csv, line 2, column 'x': 'a' is not a number.", "t.csv, line 3, column 'x': 'b' is not a number."]),
        ("date,x\n2024-01-01,1\n2024-01-01,2", {},
         ["t.csv, line 3, column 'date': the stamp '2024-01-01' is in t.csv, line 2 too. Pass --duplicates first "
          "or mean, name the column that tells series apart with --series, or, if a clock was set back, pass --zone"]),
        ("date,x,y\n2024-01-01,1,2", {}, ["t.csv: which column is the target? Pass --target with one of 'x', 'y'"]),
        ("date,x\n2024-01-01,1", {"target": "xx", "past": ["dat"]},
         ["t.csv: has no column 'dat'. Did you mean 'date'?"]),
        ("date,x\n2024-01-01,1", {"target": "xx,dat"},
         ["t.csv: has no column 'xx'. Did you mean 'x'?", "t.csv: has no column 'dat'. Did you mean 'date'?"]),
        ("date,x\n2024-01-01,inf", {}, ["t.csv, line 2, column 'x': 'inf' is not finite"]),
        ("date,x\n2024-01-01,NA", {}, ["t.csv: has no column of numbers to forecast: 'x' holds no values"]),
        ("date,x\n2024-01-01,$1.50", {},
         ["t.csv: has no column of numbers to forecast: 'x' has '$1.50' in t.csv, line 2"]),
        ("date,x,y\n2024-01-01,NA,3%", {},
         ["t.csv: has no column of numbers to forecast: 'x' holds no values; 'y' has '3%' in t.csv, line 2"]),
    ],
)  # fmt: skip
def test_faults(text, options, told):
    with pytest.raises(DataError) as caught:
        read_series(table(text), **options)
    assert str(caught.value).split("\n  ") == told


@pytest.mark.parametrize("date", ["Datum", "date"])
@pytest.mark.parametrize("clock", ["Uhrzeit", "hora", "clock"])
@pytest.mark.parametrize("form", ["{:02d}:00", "{}:00:00", "{:02d}:30:00.5"])
def test_times_of_day_in_a_column_of_their_own_are_told(date, clock, form):
    """Else the advice was to leave out 23 of 24 hours as duplicates."""
    rows = [f"0{day}.01.2024,x,{form.format(hour)},{hour + day / 2}" for day in range(1, 5) for hour in range(24)]
    text = "\n".join([f"{date},kind,{clock},load", *rows])
    told = f"as {clock!r} has times of day; or pass --duplicates first or mean, "
    with pytest.raises(DataError, match="too, and so are 91 more") as caught:
        read_series(table(text), target="load", reads=Reads(day_first=True))
    time = f"{date},{clock}"
    assert f"Pass --time {time!r}, {told}" in str(caught.value)
    data = read_series(table(text), target="load", reads=Reads(day_first=True), time=time)
    assert len(data.values[0]) == 96


@pytest.mark.parametrize("other", ["12.50", "12:50 or so", "", "1250"])
def test_what_is_no_time_of_day_is_no_advice(other):
    text = "\n".join(["date,price,load", *(f"0{day}.01.2024,{other},{day}" for day in (1, 1, 2))])
    with pytest.raises(DataError, match=r"too\. Pass --duplicates first"):
        read_series(table(text), target="load", reads=Reads(day_first=True))
    text = text.replace(".2024", ".2024 05:00").replace(f",{other},", ",06:30,")  # the stamp has its own
    with pytest.raises(DataError, match=r"too\. Pass --duplicates first"):
        read_series(table(text), target="load", reads=Reads(day_first=True))


def test_grouped_thousands():
    whole = Table({"x": ["1,204.5", "3"]}, ["l 2", "l 3"], "t")
    assert read_series(whole, target="x", thousands=",").values[0].tolist() == [1204.5, 3]
    assert read_series(whole, target="x").values[0].tolist() == [1204.5, 3]
    whole = Table({"x": ["1/204.5", "3"]}, ["l 2", "l 3"], "t")
    with pytest.raises(
        DataError,
        match=r"^l 2, column 'x': '1/204\.5' is not a number\. If '/' groups thousands, pass --thousands '/'$",
    ):
        read_series(whole, target="x")


@given(st.integers(0, 3000), st.integers(1, 40))
def test_stamps_go_on(start, count):
    first = np.datetime64("2023-01-31T00:00:00")
    hours = Frequency("second", 3600).stamps(first, start, start + count)
    assert len(hours) == count
    assert hours[0] == first + np.timedelta64(start, "h")
    waves = calendar_of(Frequency("second", 3600), hours)
    np.testing.assert_allclose(np.square(waves).reshape(count, -1, 2).sum(2), 1, rtol=1e-9)
    assert calendar_of(Frequency("row"), np.arange(3)).shape == (3, 0)


CELL = st.sampled_from(
    ["2024-01-01", "2024-01-02", "2024-02-30", "1", "-3.5", "", "NA", "x", "1e400", "1,5", "Jan 1 2000"]
)


@given(
    st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=8),
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, "c"]),
)
def test_any_table_is_read_or_refused(rows, target, series):
    whole = Table(
        {name: [row[i] for row in rows] for i, name in enumerate("abc")}, [f"line {i}" for i in range(len(rows))], "t"
    )
    with contextlib.suppress(DataError):
        data = read_series(whole, target=target, series=series)
        assert all(np.isfinite(values).all() and len(values) for values in data.values)


def test_a_column_without_values_is_no_target():
    data = read_series(table("date,x,3\n" + "\n".join(f"2024-01-0{i},{i}," for i in range(1, 7))))
    assert data.target == "x"
    assert "column '3' holds no values, and is left out" in data.notes


@pytest.mark.parametrize(
    ("values", "first", "note"),
    [
        (["1.234", "2.345", "3"], 1.234, "column 'x': '1.234' is 1.234; if '.' groups thousands, pass --decimal ,"),
        (["1.234", "2.34", "3"], 1.234, None),
        (["0.234", "0.345", "3"], 0.234, None),
    ],
)
def test_a_point_that_may_group_thousands_is_told(values, first, note):
    data = read_series(table("date,x\n" + "\n".join(f"2024-01-0{i},{each}" for i, each in enumerate(values, 1))))
    assert data.values[0][0] == first
    assert [each for each in data.notes if "thousands" in each] == ([note] if note else [])


@given(st.lists(st.integers(1, 999_999), min_size=4, max_size=30), st.sampled_from([".", ","]))
@settings(deadline=None)
def test_thousands_apart_beside_smaller_ones_are_asked_for(numbers, mark):
    """1.234 beside 567: read as 1.234 they would be wrong by a thousand; the whole of the column tells."""
    texts = [f"{each:,}".replace(",", mark) for each in (*numbers, 1234, 567, 89)]
    places = [f"l {i + 2}" for i in range(len(texts))]
    named = Table({"x": texts}, places, "t")
    first = next(i for i, each in enumerate(texts) if mark in each)
    asked = re.escape(f"l {first + 2}, column 'x': {texts[first]!r} may be {texts[first].replace(mark, '')} or ")
    with pytest.raises(DataError, match=asked):
        read_series(named)
    other = {".": ",", ",": "."}[mark]
    assert read_series(named, decimal=other).values[0].tolist() == [*numbers, 1234, 567, 89]


@given(st.sets(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), min_size=1), st.sampled_from([",", ", "]))
@settings(deadline=None)
def test_several_columns_tell_series_apart(kinds, between):
    kinds = sorted(kinds)
    rows = [(day, *kind, 10 * i + day) for i, kind in enumerate(kinds) for day in range(1, 7)]
    columns = {
        "date": [f"2024-01-0{row[0]}" for row in rows],
        "store": [row[1] for row in rows],
        "item": [row[2] for row in rows],
        "sold": [str(row[3]) for row in rows],
    }
    data = read_series(Table(columns, [f"l {i}" for i in range(len(rows))], "t"), series=f"store{between}item")
    assert data.names == [", ".join(kind) for kind in kinds]
    assert [each.tolist() for each in data.values] == [[10 * i + day for day in range(1, 7)] for i in range(len(kinds))]
    assert data.target == "sold"
    with pytest.raises(DataError, match=r"^t: has no column 'stores'\. Did you mean 'store'\?$"):
        read_series(Table(columns, [f"l {i}" for i in range(len(rows))], "t"), series="stores,item")


@given(st.integers(1950, 2000), st.integers(3, 12), st.sampled_from(["{}", "{}-01", "{}Q1", "01/01/{}"]))
@settings(deadline=None)
def test_a_series_in_each_row_is_told(begin, n, form):
    """Each column would be a series over the countries, with --target '*' without a word."""
    times = [form.format(begin + i) for i in range(n)]
    columns = {"Country": ["A", "B"], **{name: ["1", "2"] for name in times}}
    told = re.escape(f"If each row is a series over {times[0]!r} to {times[-1]!r}, turn the table first: ")
    for target in (None, "*"):
        with pytest.raises(DataError, match=told):
            read_series(Table(columns, ["l 2", "l 3"], "t"), target=target)
    assert read_series(Table(columns, ["l 2", "l 3"], "t"), target=times[0]).values[0].tolist() == [1, 2]
    dated = {"date": ["2024-01-01", "2024-01-02"], **{name: ["1", "2"] for name in times}}
    assert len(read_series(Table(dated, ["l 2", "l 3"], "t"), target="*")) == n  # years side by side


@pytest.mark.parametrize("times", [[1990, 1991, 1992, 1993], ["1990Q1", "1990Q2", "1990Q3", "1990Q4"]])
@pytest.mark.parametrize("target", ["when", "x,when"])
def test_the_column_that_tells_the_time_is_no_target(times, target):
    rows = "".join(f"{time},{i}\n" for i, time in enumerate(times))
    with pytest.raises(DataError) as told:
        read_series(table(f"when,x\n{rows}"), target=target, time="when")
    assert str(told.value) == (
        "t.csv: column 'when' tells the time, and cannot be the target too; pass another --target, or --time row to "
        "take the rows in their order"
    )
    assert read_series(table(f"when,x\n{rows}"), target="x").values[0].tolist() == [0, 1, 2, 3]


@given(st.lists(st.integers(-(2**70), 2**70), min_size=2, max_size=5))
def test_numbers_with_more_digits_than_are_kept_are_told(numbers):
    data = read_series(table("x\n" + "".join(f"{each}\n" for each in numbers)), time="row")
    first = next((each for each in numbers if int(float(each)) != each), None)
    told = [note for note in data.notes if "digits" in note]
    if first is None:
        assert not told
    else:
        assert told == [f"column 'x': {first} has more digits than are kept, and is read as {float(first):.0f}"]
