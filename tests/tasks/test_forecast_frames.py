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
