"""Which column of a stranger's table is the time, and which the target: the right one, or a question."""

import numpy as np
import pytest

from unrolled.data.series_table import read_series
from unrolled.data.table import Table
from unrolled.errors import DataError

DAYS = np.arange("2020-01-28", "2020-03-18", dtype="datetime64[D]")


def table(**columns):
    made = {name: list(map(str, values)) for name, values in columns.items()}
    length = len(next(iter(made.values())))
    return Table(made, [f"t.csv, line {i + 2}" for i in range(length)], "t.csv")


def parts_of_days():
    months = DAYS.astype("datetime64[M]").astype(int)
    return {"year": 1970 + months // 12, "month": months % 12 + 1}


@pytest.mark.parametrize("name", ["date", "Datetime", "timestamp", "ds"])
@pytest.mark.parametrize("more", [{}, {"week": np.arange(len(DAYS)) // 7}, {"day": np.arange(len(DAYS)) % 7}])
@pytest.mark.parametrize("is_first", [True, False])
def test_whole_dates_are_the_time_where_their_parts_stand_beside_them(name, more, is_first):
    dates, rest = {name: DAYS}, parts_of_days() | more
    columns = dates | rest if is_first else rest | dates
    found = read_series(table(**columns, sales=np.arange(len(DAYS)) * 1.5))
    assert (found.target, found.frequency.words, len(found.values[0])) == ("sales", "every day", len(DAYS))
    assert found.stamps(0, len(DAYS) - 1, len(DAYS) + 1) == ["2020-03-17", "2020-03-18"]
    left_out = [f"column {each!r} is named as time, and is left out of the targets" for each in rest]
    assert list(found.notes) == [*left_out, f"1 series of {len(DAYS)} values, every day"]


def test_parts_of_dates_are_the_time_where_no_column_has_whole_ones():
    found = read_series(table(year=[2019, 2019, 2020], month=[11, 12, 1], date=["x", "y", "z"], sales=[1, 2, 4]))
    assert found.stamps(0, 0, 4) == ["2019-11", "2019-12", "2020-01", "2020-02"]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"1": [1, 2, 3], "name": "abc"}, "'1' numbers the rows. Pass --target '1' if it is meant all the same"),
        ({"id": [7, 8, 9], "name": "abc"}, "'id' numbers the rows. Pass --target 'id' if it is meant all the same"),
        (
            {"time": [3, 1, 2], "event": "abc"},
            "'time' is named as time. Pass --target 'time' if it is meant all the same",
        ),
        (
            {"1": [1, 2, 3], "week": [9, 9, 1], "event": "abc"},
            "'1' numbers the rows; 'week' is named as time. Pass --target '1' if it is meant all the same",
        ),
    ],
)
@pytest.mark.parametrize("target", [None, "*"])
def test_what_numbers_the_rows_or_is_time_is_no_target(columns, told, target):
    with pytest.raises(DataError) as found:
        read_series(table(**columns), target=target)
    assert str(found.value) == f"t.csv: has no column of numbers to forecast: {told}"
    name = next(iter(columns))
    assert read_series(table(**columns), target=name).target == name


def test_numbers_that_are_named_as_time_and_are_not_taken_for_it_are_told():
    falling = read_series(table(time=[3, 9, 2, 5], v=[1, 2, 3, 4]), target="v")
    assert falling.notes[0] == (
        "the numbers of column 'time' do not go up from row to row, so they are taken for no times"
    )
    days = read_series(table(ordinal_date=[736389, 736390, 736391], v=[1, 2, 3]), target="v")
    assert days.notes[0] == (
        "the numbers of column 'ordinal_date' are no dates in a known form; --time 'ordinal_date' takes their order"
    )


@pytest.mark.parametrize("name", ["date", "Date", "order_date", "OrderDate", "day", "日期"])
def test_days_as_sheets_count_them_are_dates_and_it_is_said(name):
    found = read_series(table(**{name: range(45292, 45322), "v": range(30)}), target="v", time=name)
    assert (found.frequency.words, found.first[0]) == ("every day", np.datetime64("2024-01-01"))
    assert found.stamps(0, 29, 31) == ["45321", "45322"]
    assert found.notes[0] == (
        "numbers such as 45292 are taken as days since 1899-12-30, as sheets count them: 2024-01-01; if they are none, "
        "pass --time row"
    )


def test_hours_of_a_sheet_are_fractions_of_days():
    hours = [45292 + i / 24 for i in range(48)]
    found = read_series(table(date=[f"{each:.6f}" for each in hours], v=range(48)))
    assert (found.frequency.words, found.first[0]) == ("every hour", np.datetime64("2024-01-01"))
    assert found.stamps(0, 48, 50) == ["45294", "45294.041667"]
    assert found.notes[0].endswith("as sheets count them: 2024-01-01 00:00:00; if they are none, pass --time row")


@pytest.mark.parametrize(("name", "numbers"), [("time", range(45292, 45322)), ("date", range(1, 31))])
def test_other_numbers_are_no_days_of_a_sheet(name, numbers):
    found = read_series(table(**{name: numbers, "v": range(30)}))
    assert found.frequency.unit == "row"
    assert found.stamps(0, 0, 1) == [str(numbers[0])]
