"""Series and frames as users of pandas and polars have them: an index is never dropped where it says something."""

import numpy as np
import pandas
import polars
import pytest

from unrolled.errors import DataError
from unrolled.tasks.forecast.reading import Reader
from unrolled.tasks.forecast.settings import ForecastSettings

MONTHS = pandas.date_range("2019-01-01", periods=30, freq="MS")
VALUES = np.arange(30) ** 1.1


def read(data, **settings):
    return Reader(ForecastSettings(**settings)).series(data)


def series(index, name=None):
    return pandas.Series(VALUES, index=index, name=name)


@pytest.mark.parametrize(
    ("data", "first", "after"),
    [
        (series(MONTHS), "2019-01-01", "2021-07-01"),
        (series(MONTHS.to_period("M")), "2019-01", "2021-07"),
        (series(MONTHS.strftime("%Y-%m")), "2019-01", "2021-07"),
        (series(MONTHS.strftime("%b %Y").rename("when")), "Jan 2019", "Jul 2021"),
        (series(MONTHS.strftime("%Y-%m")).to_frame("v"), "2019-01", "2021-07"),
        (series(np.arange(1950, 1980)), "1950", "1980"),
        (series(pandas.Index(np.arange(1950, 1980), name="year")).to_frame("v"), "1950", "1980"),
        (series(np.arange(100, 130)), "100", "130"),
        (series(None), "0", "30"),
        (series(np.arange(30)), "0", "30"),
        (series([f"row {chr(97 + i)}" for i in range(30)]), "0", "30"),
        (pandas.DataFrame({"date": MONTHS, "v": VALUES}), "2019-01-01", "2021-07-01"),
        (polars.DataFrame({"date": MONTHS.to_list(), "v": VALUES}), "2019-01-01", "2021-07-01"),
        (polars.Series("v", VALUES), "0", "30"),
    ],
)
def test_the_index_is_the_time_where_it_can_be(data, first, after):
    found = read(data)
    assert found.stamps(0, 0, 1) + found.stamps(0, 30, 31) == [first, after]
    assert np.allclose(found.values[0], VALUES)


@pytest.mark.parametrize(
    "data",
    [
        pandas.Series(np.where(np.arange(30) == 4, np.nan, VALUES)),
        pandas.Series(np.arange(30), dtype="Int64").mask(np.arange(30) == 4),
        pandas.DataFrame({"v": pandas.Series(np.arange(30), dtype="Int64").mask(np.arange(30) == 4)}),
        polars.Series("v", [None if i == 4 else float(i) for i in range(30)]),
    ],
)
def test_missing_values_are_missing_in_any_kind_of_series(data):
    found = read(data)
    assert np.flatnonzero(~found.known[0]).tolist() == [4]
    assert found.values[0][4] == pytest.approx((found.values[0][3] + found.values[0][5]) / 2)
    assert "1 missing value is drawn in a straight line between its neighbors, and counts in no metric" in found.notes


def test_series_under_an_index_of_two_levels_are_not_joined_to_one():
    both = pandas.concat({"a": series(MONTHS), "b": series(MONTHS)}).rename_axis(["shop", "date"]).to_frame("sales")
    with pytest.raises(DataError, match="the stamp '2019-01-01' is in the table, row 1 too"):
        read(both)
    found = read(both, series="shop")
    assert (found.names, [len(each) for each in found.values]) == (["a", "b"], [30, 30])


def test_an_index_in_another_order_is_told():
    found = read(series(np.random.default_rng(0).permutation(30)))
    assert "the numbers of column 'time' do not go up from row to row, so they are taken for no times" in found.notes
    assert np.allclose(found.values[0], VALUES)


DAYS = pandas.date_range("2021-03-01", periods=30)
DATES = {
    "day": DAYS,
    "when": [f"{each:%d.%m.%Y}" for each in DAYS],
    "year": list(range(1990, 2020)),
    "Datum": [int(f"{each:%Y%m%d}") for each in DAYS],
}
PLAIN_INDEXES = {
    "range": pandas.RangeIndex(30),
    "part of a range": pandas.RangeIndex(100, 130),
    "years by chance": pandas.RangeIndex(1900, 1930),
    "turned round": pandas.RangeIndex(29, -1, -1),
    "repeated": pandas.Index([*range(15), *range(15)]),
    "with gaps": pandas.Index(np.arange(30) * 3 + 7),
    "falling": pandas.Index(np.arange(90, 0, -3)),
    "mixed up": pandas.Index(np.random.default_rng(1).permutation(30)),
    "all the same": pandas.Index([0] * 30),
    "fractions": pandas.Index(np.linspace(0, 1, 30)),
    "texts": pandas.Index([f"row {i}" for i in range(30)]),
    "named id": pandas.Index(np.arange(30) + 5, name="id"),
    "named time, repeated": pandas.Index([*range(15), *range(15)], name="time"),
    "of two levels": pandas.MultiIndex.from_product([[0, 1], range(15)]),
}
TIME_INDEXES = {
    "stamps": DAYS,
    "periods": DAYS.to_period("D"),
    "named stamps": DAYS.rename("at"),
    "texts": DAYS.strftime("%Y-%m-%d"),
    "numbers": pandas.Index([int(f"{each:%Y%m%d}") for each in DAYS], name="date"),
}


@pytest.mark.parametrize("index", PLAIN_INDEXES)
@pytest.mark.parametrize("column", DATES)
def test_an_index_that_is_no_time_never_hides_a_column_of_dates(index, column):
    frame = pandas.DataFrame({"v": VALUES, column: DATES[column]})
    expected = read(frame)
    found = read(frame.set_axis(PLAIN_INDEXES[index]))
    assert found.stamps(0, 0, 31) == expected.stamps(0, 0, 31)
    assert found.stamps(0, 0, 1) == [frame[column].astype(str)[0]]
    assert np.allclose(found.values[0], VALUES)
    assert read(polars.DataFrame({name: frame[name].tolist() for name in frame})).stamps(0, 0, 31) == expected.stamps(
        0, 0, 31
    )


@pytest.mark.parametrize("index", TIME_INDEXES)
@pytest.mark.parametrize("column", DATES)
def test_an_index_of_times_is_the_time_beside_a_column_of_dates(index, column):
    frame = pandas.DataFrame({"v": VALUES, column: DATES[column]}, index=TIME_INDEXES[index])
    found = read(frame, target="v")
    assert found.stamps(0, 30, 31) == ["20210331" if index == "numbers" else "2021-03-31"]
    assert np.allclose(found.values[0], VALUES)


def test_frames_below_each_other_keep_their_dates():
    parts = [pandas.DataFrame({"day": DAYS, "shop": shop, "v": VALUES}) for shop in "ab"]
    found = read(pandas.concat(parts), series="shop", target="v")
    assert (found.names, found.stamps(1, 30, 31)) == (["a", "b"], ["2021-03-31"])
    with pytest.raises(DataError, match="the stamp '2021-03-01' is in the table, row 1 too"):
        read(pandas.concat(parts), target="v")


def test_an_index_is_a_column_where_it_is_asked_for():
    frame = pandas.DataFrame({"day": DAYS.tolist() * 2, "v": [*VALUES, *VALUES]}, index=[1] * 30 + [2] * 30)
    assert read(frame.rename_axis("shop"), series="shop").names == ["1", "2"]
    assert read(frame.rename_axis("shop"), series="shop").stamps(1, 30, 31) == ["2021-03-31"]


@pytest.mark.parametrize("index", ["turned round", "falling"])
def test_a_frame_that_was_turned_round_stands_in_the_order_of_its_rows(index):
    assert np.allclose(read(series(PLAIN_INDEXES[index])).values[0], VALUES)
    assert np.allclose(read(series(PLAIN_INDEXES[index]).to_frame("v")).values[0], VALUES)
