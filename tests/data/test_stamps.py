"""Stamps are read as they were meant and written as they were read: forms, frequencies and zones, generated."""

import re
import string

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data.frequency import find_frequency
from unrolled.data.series_table import read_series
from unrolled.data.stamp_forms import readings
from unrolled.data.stamps import Reads
from unrolled.data.table import Table
from unrolled.errors import DataError, SettingsError


def months(begin, n):
    return pandas.period_range(begin, periods=n, freq="M")


def table(texts, name="date", **more):
    columns = {name: [str(text) for text in texts], "x": [str(i) for i in range(len(texts))], **more}
    return Table(columns, [f"t.csv, line {i + 2}" for i in range(len(texts))], "t.csv")


def unpadded(stamp):
    """12/31/2004 1:00, as spreadsheets write it."""
    return f"{stamp.month}/{stamp.day}/{stamp.year} {stamp.hour}:{stamp.minute:02}"


def ordinal(number):
    ends = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
    return f"{number}{ends.get(number, 'th')}"


DAYS = pandas.date_range("2009-12-20", periods=60, freq="D")
HOURS = pandas.date_range("2004-12-30 05:00", periods=70, freq="h")
FORMS = {
    "iso": (DAYS, lambda t: f"{t:%Y-%m-%d}"),
    "iso hours": (HOURS, lambda t: f"{t:%Y-%m-%d %H:%M:%S}"),
    "iso T, Z": (HOURS, lambda t: f"{t:%Y-%m-%dT%H:%M:%SZ}"),
    "offset": (HOURS, lambda t: f"{t:%Y-%m-%dT%H:%M:%S}+05:30"),
    "offset, no colon": (HOURS, lambda t: f"{t:%Y-%m-%d %H:%M}-0300"),
    "fractions": (pandas.date_range("2024-01-01", periods=50, freq="100ms"), lambda t: f"{t:%H:%M:%S.%f}"[:0] + f"{t:%Y-%m-%d %H:%M:%S.%f}"[:-3]),
    "month first": (DAYS, lambda t: f"{t:%m/%d/%Y}"),
    "day first": (DAYS, lambda t: f"{t:%d/%m/%Y}"),
    "spreadsheet": (HOURS, unpadded),
    "German": (HOURS, lambda t: f"{t:%d.%m.%Y %H:%M}"),
    "two digits": (DAYS, lambda t: f"{t:%d.%m.%y}"),
    "AM/PM": (HOURS, lambda t: f"{t:%m/%d/%Y %I:%M:%S %p}"),
    "am/pm": (HOURS, lambda t: f"{t:%Y-%m-%d} {(t.hour + 11) % 12 + 1}:00 {'am' if t.hour < 12 else 'pm'}"),
    "names": (DAYS, lambda t: f"{t:%d-%b-%Y}"),
    "upper names": (DAYS, lambda t: f"{t:%d-%b-%y}".upper()),
    "long names": (DAYS, lambda t: f"{t:%B} {t.day}, {t.year}"),
    "weekday": (DAYS, lambda t: f"{t:%a, %d %b %Y}"),
    "log": (HOURS, lambda t: f"{t:%d/%b/%Y:%H:%M:%S} +0000"),
    "digits": (DAYS, lambda t: f"{t:%Y%m%d}"),
    "compact": (HOURS, lambda t: f"{t:%Y%m%dT%H%M%S}Z"),
    "hours alone": (HOURS, lambda t: f"{t:%Y-%m-%dT%H}"),
    "Chinese": (DAYS, lambda t: f"{t.year}年{t.month}月{t.day}日"),
    "ordinals": (DAYS, lambda t: f"{t:%b} {ordinal(t.day)} {t.year}"),
    "ordinals of": (DAYS, lambda t: f"{ordinal(t.day)} of {t:%B}, {t.year}"),
    "ctime": (HOURS, lambda t: t.ctime()),
    "Twitter": (HOURS, lambda t: f"{t:%a %b %d %H:%M:%S +0000 %Y}"),
    "date": (HOURS, lambda t: f"{t:%a %b} {t.day:>2} {t:%H:%M:%S} UTC {t.year}"),
    "zone by name": (HOURS, lambda t: f"{t:%Y-%m-%d %H:%M} EST"),
    "until 24:00": (HOURS, lambda t: f"{t:%d.%m.%Y %H:%M}" if t.hour else f"{t - pandas.Timedelta('1D'):%d.%m.%Y} 24:00"),
    "numbered weeks": (pandas.date_range("2004-12-06", periods=60, freq="7D"), lambda t: f"Week {int(f'{t:%V}')}, {t:%G}"),
    "weeks after years": (pandas.date_range("2004-12-06", periods=60, freq="7D"), lambda t: f"{t:%G} KW {t:%V}"),
    "weeks first": (pandas.date_range("2004-12-06", periods=60, freq="7D"), lambda t: f"W{t:%V}/{t:%G}"),
    "Thai years": (pandas.period_range("2500", periods=60, freq="Y"), lambda t: f"{t.year}"),
    "quarters": (pandas.period_range("2004Q1", periods=30, freq="Q"), lambda t: f"{t.year}Q{t.quarter}"),
    "quarters apart": (pandas.period_range("2004Q3", periods=30, freq="Q"), lambda t: f"{t.year}-Q{t.quarter}"),
    "quarter first": (pandas.period_range("2004Q3", periods=30, freq="Q"), lambda t: f"Q{t.quarter} {t.year}"),
    "weeks": (pandas.date_range("2004-12-06", periods=60, freq="7D"), lambda t: f"{t:%G-W%V}"),
    "week days": (pandas.date_range("2004-12-08", periods=60, freq="7D"), lambda t: f"{t:%G-W%V-%u}"),
    "years": (pandas.period_range("1900", periods=60, freq="Y"), lambda t: f"{t.year}"),
    "months": (months("2003-11", 40), lambda t: f"{t:%Y-%m}"),
    "month, year": (months("2003-11", 40), lambda t: f"{t:%m/%Y}"),
    "named months": (months("2003-11", 40), lambda t: f"{t:%b-%y}"),
    "full months": (months("2003-11", 40), lambda t: f"{t:%B %Y}"),
    "Eurostat": (months("2003-11", 40), lambda t: f"{t:%YM%m}"),
    "half years": (pandas.period_range("2004Q1", periods=30, freq="2Q"), lambda t: f"{t.year}H{(t.quarter + 1) // 2}"),
    "epoch": (HOURS, lambda t: f"{int(t.timestamp())}"),
    "epoch ms": (HOURS, lambda t: f"{int(t.timestamp() * 1000)}"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("order", ["as it is", "newest first", "shuffled"])
def test_forms_are_read_and_written_again(form, order):
    stamps, write = FORMS[form]
    texts = [write(stamp) for stamp in stamps]
    known, then = texts[:-5], texts[-5:]
    rows = list(range(len(known)))
    if order == "newest first":
        rows.reverse()
    elif order == "shuffled":
        np.random.default_rng(0).shuffle(rows)
    found = read_series(table([known[i] for i in rows], x=[str(i) for i in rows]))
    assert found.values[0].tolist() == list(range(len(known)))
    assert found.stamps(0, len(known), len(texts)) == then
    assert found.frequency.unit != "row"
    first = found.frequency.stamps(found.first[0], 0, 1)[0]
    assert first == np.datetime64(stamps[0].to_timestamp() if hasattr(stamps[0], "to_timestamp") else stamps[0], "us")


FREQUENCIES = {
    "h": (24, "every hour"), "15min": (96, "every 15 minutes"), "D": (7, "every day"), "7D": (52, "every week"),
    "W-SUN": (52, "every week"), "B": (5, "every weekday"), "MS": (12, "every month"), "ME": (12, "every month, at the end"),
    "BMS": (12, "every month, on the first weekday"), "BME": (12, "every month, on the last weekday"),
    "QS": (4, "every 3 months"), "QE": (4, "every 3 months, at the end"), "YS": (1, "every year"),
    "YE": (1, "every year, at the end"), "SMS": (1, "row by row"), "bh": (8, "every hour from 09:00 to 16:00, every weekday"),
    "2D": (1, "every 2 days"), "s": (86400, "every second"),
}  # fmt: skip


@pytest.mark.parametrize("alias", FREQUENCIES)
def test_pandas_frequencies_are_found_and_go_on(alias):
    season, words = FREQUENCIES[alias]
    stamps = pandas.date_range("2019-03-04 09:00" if alias == "bh" else "2019-03-04", periods=80, freq=alias)
    texts = [f"{each:%Y-%m-%d %H:%M:%S}" for each in stamps]
    found = read_series(table(texts[:-12]))
    assert (found.frequency.season, found.frequency.words) == (season, words)
    assert found.values[0].tolist() == list(range(68))
    if alias != "SMS":
        assert found.stamps(0, 68, 80) == texts[-12:]


@given(
    st.sampled_from(sorted(set(FREQUENCIES) - {"SMS"})),
    st.datetimes(pandas.Timestamp("1900-01-01"), pandas.Timestamp("2200-01-01")),
    st.integers(40, 120),
    st.sets(st.integers(1, 38), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_places_and_stamps_agree_whatever_is_missing(alias, begin, n, missing):
    begin = pandas.Timestamp(begin).floor("D") + pandas.Timedelta(hours=9 if alias == "bh" else 0)
    stamps = pandas.date_range(begin, periods=n, freq=alias).to_numpy().astype("datetime64[us]")
    kept = np.array([i for i in range(n) if i not in missing])
    frequency = find_frequency([stamps[kept]]).frequency
    np.testing.assert_array_equal(frequency.stamps(stamps[0], 0, n), stamps)
    np.testing.assert_array_equal(frequency.places(stamps[kept]), kept)
    np.testing.assert_array_equal(frequency.stamps(stamps[0], 7, n), stamps[7:])


def test_months_written_with_the_day_first_are_months():
    texts = [f"01/{month:02}/{year}" for year in range(2010, 2022) for month in range(1, 13)]
    found = read_series(table(texts))
    assert found.frequency.words == "every month"
    assert found.values[0].tolist() == list(range(144))
    assert found.day_first is True
    assert found.stamps(0, 144, 146) == ["01/01/2022", "01/02/2022"]


@pytest.mark.parametrize("n", [2, 5, 12])
def test_where_both_orders_fit_the_user_is_asked(n):
    texts = [f"01/{month:02}/2010" for month in range(1, n + 1)]
    with pytest.raises(DataError) as caught:
        read_series(table(texts))
    assert str(caught.value) == (
        "t.csv, column 'date': '01/02/2010' can be read day first or month first, and the stamps are as regular either "
        "way. Pass --day-first or --month-first"
    )
    assert read_series(table(texts), reads=Reads(day_first=True)).frequency.words == "every month"
    assert read_series(table(texts), reads=Reads(day_first=False)).frequency.words == "every day"


def test_two_digits_in_three_places_are_asked_and_a_format_answers():
    texts = [f"01/01/{day:02}" for day in range(1, 10)]
    with pytest.raises(DataError, match=r"for the year first pass --time-format '%y/%m/%d'$"):
        read_series(table(texts))
    found = read_series(table(texts), reads=Reads(pattern="%y/%m/%d"))
    assert found.frequency.words == "every day"
    assert found.stamps(0, 9, 11) == ["01/01/10", "01/01/11"]


FIELDS = "%Y, %y, %m, %d, %j, %b, %B, %a, %A, %G, %V, %u, %w, %H, %I, %M, %S, %f, %p, %z, %F, %D, %T, %R, %h, %e"
MEANT = {  # by each field a format of which it is a part
    "Y": "%Y-%m-%d", "y": "%y.%m.%d", "m": "%Y%m%d", "d": "%d/%m/%Y", "j": "%Y-%j", "b": "%d %b %Y", "B": "%B %d, %Y",
    "a": "%a, %d %b %Y", "A": "%A %Y-%m-%d", "G": "%G-W%V-%u", "V": "%V/%G/%u", "u": "%G%V%u", "w": "%Y-%m-%d (%w)",
    "H": "%H.%d.%m.%Y", "I": "%d.%m.%Y %I %p", "M": "%Y-%m-%d %H:%M", "S": "%S %H:%M %Y-%j", "f": "%Y-%m-%d %H:%M:%S.%f",
    "p": "%p%I %y%j", "F": "%F", "D": "%D", "T": "%FT%T", "R": "%R on %F", "h": "%h %d %Y", "e": "%e.%m.%Y", "%": "%Y%%%m%%%d",
    "z": "%F %T%z",
}  # fmt: skip


@pytest.mark.parametrize("field", [*string.ascii_letters, "%", "-", "Ü", "\n"])
@pytest.mark.parametrize("change", [str, str.upper, str.lower])
def test_a_field_of_a_format_is_read_and_written_or_refused_by_name(field, change):
    days = DAYS[12:]
    if field not in MEANT:
        with pytest.raises(SettingsError) as caught:
            read_series(table(days), reads=Reads(pattern=f"%Y %{field}"))
        assert str(caught.value) == (
            f"time_format={f'%Y %{field}'!r}: has the field {f'%{field}'!r}; expected some of {FIELDS}"
        )
        return
    pattern = MEANT[field]
    texts = [change(each.strftime(pattern.replace("%e", "%d"))) for each in days.tz_localize("UTC")]
    found = read_series(table(texts[:40]), time="date", reads=Reads(pattern=pattern))
    assert found.frequency.words == "every day"
    written = [each.replace("+00:00", "+0000") for each in found.stamps(0, 0, len(texts))]
    assert [each.lower() for each in written] == [each.lower() for each in texts]
    if field in "abBAph":  # names are written as they stood, other letters as in the format
        assert written[:40] == texts[:40]


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("%d.%m.", "has no year; expected one of %Y, %y, %G. --time row takes the rows in their order"),
        ("%F %Y", "has the field '%Y' twice"),
        ("%H:%M", "has no year; expected one of %Y, %y, %G. --time row takes the rows in their order"),
        ("%z %Y-%m-%d", "expected '%z' at the end"),
        ("%Y %", f"has the field '%'; expected some of {FIELDS}"),
        ("%Y-%m-%d %d", "has the field '%d' twice"),
    ],
)
def test_formats_that_cannot_be_read_are_told(pattern, fault):
    with pytest.raises(SettingsError) as caught:
        read_series(table(DAYS), reads=Reads(pattern=pattern))
    assert str(caught.value) == f"time_format={pattern!r}: {fault}"


@pytest.mark.parametrize("place", ["Europe/Berlin", "America/New_York", "Australia/Sydney", "Asia/Kolkata"])
@pytest.mark.parametrize("freq", ["h", "D", "MS"])
def test_a_zone_is_kept_through_changes_of_the_clock(place, freq):
    stamps = pandas.date_range("2023-01-01", periods=9000 if freq == "h" else 400, freq=freq, tz=place)
    texts = [each.isoformat() for each in stamps]
    n = len(texts) // 2
    found = read_series(table(texts[:n]), reads=Reads(place=place))
    assert found.frequency.words == {"h": "every hour", "D": "every day", "MS": "every month"}[freq]
    assert found.stamps(0, n, len(texts)) == texts[n:]
    assert len(found.values[0]) == n
    without = read_series(table(texts[:n]))
    assert len(without.values[0]) == n
    if place != "Asia/Kolkata":
        assert without.notes[0].startswith(
            "the offset from UTC changes between 2 values; forecasts bear the last, as in "
        )


@pytest.mark.parametrize("place", ["Europe/Berlin", "America/New_York"])
def test_local_hours_with_a_clock_set_back(place):
    stamps = pandas.date_range("2023-01-01", periods=8760, freq="h", tz=place)
    texts = [f"{each:%Y-%m-%d %H:%M}" for each in stamps]
    with pytest.raises(DataError, match=r"or, if a clock was set back, pass --zone$"):
        read_series(table(texts[:8000]))
    found = read_series(table(texts[:8000]), reads=Reads(place=place))
    assert found.values[0].tolist() == list(range(8000))
    assert found.stamps(0, 8000, 8760) == texts[8000:]


def test_there_is_no_such_zone():
    with pytest.raises(SettingsError) as caught:
        read_series(table(["2024-01-01", "2024-01-02"]), reads=Reads(place="Berlin"))
    assert str(caught.value) == "zone='Berlin': there is no zone of that name; expected such as Europe/Berlin or UTC"


@pytest.mark.parametrize("text", ["Total", "", "Sum of all", "Source: the ministry"])
def test_lines_after_the_last_stamp_are_left_out_and_told(text):
    found = read_series(table(["2024-01-01", "2024-01-02", "2024-01-03", text], x=["1", "2", "3", "6 in all"]))
    assert found.values[0].tolist() == [1, 2, 3]
    assert found.notes[0] == f"t.csv, line 5 is left out: {text!r} in column 'date' is no time"


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["2024-01-01", "Total", "2024-01-03", "2024-01-04"],
         "t.csv, line 3, column 'date': 'Total' is no time; expected it as '2024-01-01'"),
        (["2024-01-01", "2024-01-02", "2024-02-30"],
         "t.csv, line 4, column 'date': '2024-02-30' is no time; expected it as '2024-01-01'"),
        (["first", "second", "third"],
         "t.csv, line 2, column 'date': 'first' is no time. Expected such as 2024-01-31 or 2024-01-31 13:00; pass "
         "--time-format, such as '%d.%m.%Y', or --time row to take the rows in their order"),
        (["2024-01-01", "2024-01-02", "03/04/2024", "2024-01-04", "2024-01-05"],
         "t.csv, line 4, column 'date': '03/04/2024' is no time; expected it as '2024-01-01'"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told(texts, told):
    with pytest.raises(DataError) as caught:
        read_series(table(texts))
    assert str(caught.value) == told


def test_rows_are_taken_in_their_order_on_request_and_where_there_is_no_time():
    found = read_series(table(["first", "second"]), time="row")
    assert found.stamps(0, 2, 4) == ["2", "3"]
    alone = read_series(Table({"x": ["4", "5"]}, ["l 1", "l 2"], "t"))
    assert alone.notes[0] == "no column has time stamps: rows are taken in their order"
    named = read_series(table(["yes", "no"], name="prime_time"))
    assert named.notes[0].startswith("t.csv, line 2, column 'prime_time': 'yes' is no time. ")


def test_what_resembles_time_in_a_form_that_is_not_known_is_told():
    found = read_series(table(["1 janvier 2024", "2 janvier 2024", "3 janvier 2024"], name="when"))
    assert found.notes[0].startswith("t.csv, line 2, column 'when': '1 janvier 2024' is no time. ")
    assert found.notes[1] == "no column has time stamps: rows are taken in their order"


@pytest.mark.parametrize(
    ("columns", "then"),
    [
        ({"Date": ["10/03/2004", "10/03/2004", "11/03/2004"], "Time": ["18.00.00", "21.00.00", "00.00.00"]}, "11/03/2004 03:00:00"),
        ({"year": ["1959.0"] * 4, "quarter": ["1.0", "2.0", "3.0", "4.0"]}, "1960Q1"),
        ({"year": ["1949"] * 4, "month": ["Jan", "Feb", "Mar", "Apr"]}, "1949-May"),
        ({"year": ["2024"] * 3, "month": ["9", "10", "11"]}, "2024-12"),
        ({"year": ["2024"] * 3, "month": ["2"] * 3, "day": ["27", "28", "29"]}, "2024-03-01"),
        ({"time": ["1949", "1949.0833", "1949.1667", "1949.25"]}, "1949.3333"),
        ({"year": ["1700.0", "1701.0", "1702.0"]}, "1703"),
        ({"time": ["0.5", "1.0", "1.5"]}, "2"),
        ({"yyyymmdd": ["20240228", "20240229", "20240301"]}, "20240302"),
    ],
)  # fmt: skip
def test_columns_that_make_a_stamp_together(columns, then):
    n = len(next(iter(columns.values())))
    reads = Reads(day_first=True)
    found = read_series(
        Table({**columns, "x": ["7"] * n}, [f"line {i}" for i in range(n)], "t"), target="x", reads=reads
    )
    assert len(found.values[0]) == n
    assert found.stamps(0, n, n + 1) == [then]


_HOURS = [(day, hour) for day in (27, 28, 29) for hour in range(24)]


_PARTS = [
    {"date": "2024-02-{day}", "Uhrzeit": "{hour:02}:{minute:02}"},
    {"date": "2024-02-{day}", "clock": "{hour}:{minute:02}:00"},
    {"date": "202402{day}", "hour": "{hour:02}:{minute:02}"},
    {"date": "2024-02-{day}", "hour": "{hour}", "minute": "{minute}"},
    {"Datum": "{day}.02.2024", "Uhrzeit": "{hour:02}:{minute:02}"},
    {"Datum": "{day}.02.2024", "Uhrzeit": "{hour}.{minute:02}"},
    {"Datum": "{day}.02.2024", "Stunde": "{hour}", "Minute": "{minute}"},
    {"日期": "2024/2/{day}", "时刻": "{hour:02}:{minute:02}:00"},
    {"year": "2024", "month": "2", "day": "{day}", "hour": "{hour}", "minute": "{minute}"},
    {"year": "2024", "month": "2", "day": "{day}", "hour": "{hour}", "minute": "{minute}", "second": "0"},
    {"year": "2024", "month": "2", "day": "{day}", "time": "{hour:02}:{minute:02}"},
    {"Jahr": "2024", "Monat": "2", "Tag": "{day}", "Zeit": "{hour:02}:{minute:02}"},
]


@pytest.mark.parametrize("minute", [0, 30])
@pytest.mark.parametrize("parts", _PARTS)
def test_no_part_of_a_stamp_is_lost_whatever_the_columns_are_called(parts, minute):
    """Minutes were, beside a column `date`, and in a fifth column; elsewhere the stamp was refused, or a crash."""
    columns = {
        name: [form.format(day=day, hour=hour, minute=minute) for day, hour in _HOURS] for name, form in parts.items()
    }
    n = len(_HOURS)
    whole = Table({**columns, "x": list(map(str, range(n)))}, [f"line {i}" for i in range(n)], "t")
    found = read_series(whole, target="x", time=",".join(parts), reads=Reads(day_first=True))
    assert found.notes[-1] == f"1 series of {n} values, every hour"
    assert found.values[0].tolist() == list(range(n))
    assert f"0:{minute:02}" in found.stamps(0, n, n + 1)[0]


@pytest.mark.parametrize("gap", ["", " ", "-", "?", "NA", "None", "-."])
@pytest.mark.parametrize(
    "parts",
    [*_PARTS, {"year": "{hour}", "month": "2"}, {"year": "{hour}", "quarter": "1"}, {"year": "{hour}", "week": "7"}],
)
def test_a_stamp_that_lacks_a_part_is_told(parts, gap):
    """A day whose time was missing was its midnight, and a year without a month a year."""
    for i, name in enumerate(parts):
        columns = {
            key: [form.format(day=day, hour=hour + 2000 * (key == "year"), minute=30) for day, hour in _HOURS[:24]]
            for key, form in parts.items()
        }
        columns[name][7] = gap
        lines = [f"line {n + 2}" for n in range(24)]
        with pytest.raises(DataError, match=r"^line 9, column ") as told:
            read_series(
                Table({**columns, "x": list(map(str, range(24)))}, lines, "t"),
                target="x", time=",".join(parts), reads=Reads(day_first=True),
            )  # fmt: skip
        assert "is no time" in str(told.value), (i, name)


@pytest.mark.parametrize(
    "parts",
    [
        each
        for each in _PARTS
        if [*each]
        in (
            ["date", "hour", "minute"],
            ["year", "month", "day", "hour", "minute"],
            ["year", "month", "day", "hour", "minute", "second"],
        )
    ],
)
def test_minutes_in_a_column_of_their_own_are_found(parts):
    columns = {
        name: [form.format(day=day, hour=hour, minute=minute) for day, hour in _HOURS for minute in (0, 20, 40)]
        for name, form in parts.items()
    }
    n = 3 * len(_HOURS)
    whole = Table({**columns, "x": list(map(str, range(n)))}, [f"line {i}" for i in range(n)], "t")
    assert read_series(whole, target="x").notes[-1] == f"1 series of {n} values, every 20 minutes"


@pytest.mark.parametrize("day", [["date"], ["year", "month", "day"]])
@pytest.mark.parametrize("part", ["minute", "minutes", "second", "Seconds"])
def test_minutes_without_hours_are_no_hours(day, part):
    names = [*day, part]
    whole = Table(
        {**{name: ["2024-01-01" if name == "date" else "7"] * 3 for name in day}, part: list("123"), "x": list("123")},
        list("123"),
        "t",
    )
    told = f"^t: a stamp of {', '.join(names)}: expected the hours beside the day, before {part}$"
    with pytest.raises(DataError, match=told):
        read_series(whole, target="x", time=",".join(names))


@pytest.mark.parametrize("kind", ["week", "quarter"])
def test_a_week_beside_a_year_and_a_day_is_refused(kind):
    whole = Table({"year": ["2024"] * 3, kind: ["1"] * 3, "day": list("123"), "x": list("123")}, list("123"), "t")
    with pytest.raises(DataError, match=f"^t: a stamp of year, {kind}, day: expected a {kind} beside a year alone$"):
        read_series(whole, target="x", time=f"year,{kind},day")


def test_a_stray_year_takes_no_memory():
    with pytest.raises(DataError) as caught:
        read_series(table([*(f"2024-01-{day:02}" for day in range(1, 31)), "9999-12-31"]))
    assert str(caught.value) == (
        "t.csv: more than 30 % would have to be drawn between neighbors: 'x' has 31 of 2,913,174 stamps. Pass "
        "--max-missing with a larger share, or a part of the file without the gap"
    )


def test_too_much_that_is_missing_is_refused_or_left_out():
    days = [f"2024-01-{day:02}" for day in (*range(1, 11), 31)]
    with pytest.raises(DataError, match=r"'x' has 11 of 31 values\. Pass --max-missing "):
        read_series(table(days))
    found = read_series(table(days), max_missing=0.7)
    assert found.known[0].sum() == 11
    assert (
        found.notes[-1]
        == "20 missing values are drawn in a straight line between their neighbors, and count in no metric"
    )
    both = table([*days, *days], id=["a"] * 11 + ["b"] * 11, y=["1"] * 22)
    both.columns["date"][11:] = [f"2024-01-{day:02}" for day in range(1, 12)]
    kept = read_series(both, target="y", series="id")
    assert kept.names == ["b"]
    assert (
        kept.notes[0]
        == "1 series is left out, as more than 30 % would have to be drawn between neighbors: 'a' has 11 of 31 values"
    )


@pytest.mark.parametrize(("how", "values"), [("first", [1, 3, 4]), ("mean", [1.5, 3, 4])])
def test_duplicates_are_joined_on_request(how, values):
    twice = table(["2024-01-01", "2024-01-01", "2024-01-02", "2024-01-03"], x=["1", "2", "3", "4"])
    found = read_series(twice, duplicates=how)
    assert found.values[0].tolist() == values
    assert "1 row has the stamp of another row and is joined with it" in found.notes


def test_many_duplicates_are_one_line():
    many = table(["2024-01-01"] * 3 + ["2024-01-02"] * 2)
    with pytest.raises(DataError) as caught:
        read_series(many)
    assert str(caught.value) == (
        "t.csv, line 3, column 'date': the stamp '2024-01-01' is in t.csv, line 2 too, and so are 2 more. Pass "
        "--duplicates first or mean, name the column that tells series apart with --series, or, if a clock was set "
        "back, pass --zone"
    )


def test_kinds_become_columns_and_are_read_like_before():
    days = [f"2024-01-{day:02}" for day in range(1, 6)]
    first = table(days, holiday=["New Year", "", "", "", "Epiphany"])
    found = read_series(first, target="x", future=["holiday"])
    assert found.covariate_names == ("holiday=Epiphany", "holiday=New Year")
    assert found.covariates[0].tolist() == [[0, 1], [0, 0], [0, 0], [0, 0], [1, 0]]
    assert found.notes[0] == "column 'holiday' has 2 kinds: Epiphany, New Year"


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("write", ["{}", "{}.0", "{:.15e}"])
def test_time_since_1970_is_read_from_whole_numbers_and_others(unit, write):
    stamps = pandas.date_range("2004-01-30", periods=20, freq="h")
    numbers = [int(each) for each in stamps.as_unit(unit).asi8]
    if write == "{:.15e}" and unit == "ns":
        numbers = [float(each) for each in numbers]
    data = read_series(table([write.format(each) for each in numbers]))
    assert data.frequency.words == "every hour"
    assert data.first[0] == np.datetime64("2004-01-30", "us")


@pytest.mark.parametrize(
    ("texts", "begin"),
    [
        ([str(2020 - i) for i in range(30)], "1991-01-01"),
        ([f"{t:%Y%m}" for t in pandas.date_range("2004-01-01", periods=30, freq="MS")], "2004-01-01"),
        ([str(1_075_424_400 + 3600 * i) for i in range(30)], "2004-01-30T01:00:00"),
    ],
)
def test_numbers_that_go_as_times_do_are_told_where_no_name_says_so(texts, begin):
    data = read_series(table(texts, "when"), target="x")
    assert data.frequency.unit == "row"
    assert any(note.startswith(f"the numbers of column 'when' may be times from {begin}") for note in data.notes)
    counts = read_series(table([str(3 * i) for i in range(30)], "when"), target="x")
    assert not any("may be times" in note for note in counts.notes)


@pytest.mark.parametrize("first", ["1936-01", "1949-01", "1960-01", "1968-06", "1995-03", "2020-01"])
@pytest.mark.parametrize("form", ["%b-%y", "%d.%m.%y", "%d %b %y", "%m/%d/%y"])
def test_years_of_two_digits_are_of_the_last_hundred_and_told(first, form):
    wanted = pandas.date_range(first, periods=40, freq="MS")
    found = read_series(table([f"{t:{form}}" for t in wanted]), reads=Reads(day_first=form != "%m/%d/%y"))
    assert found.frequency.words == "every month"
    assert found.frequency.stamps(found.first[0], 0, 40).tolist() == wanted.to_pydatetime().tolist()
    assert any(note.startswith("years of two digits are 1936 to 2035; for others pass") for note in found.notes)


def test_quarters_of_two_digits_are_of_the_same_years():
    found = read_series(table([f"Q{i % 4 + 1} {(60 + i // 4) % 100:02}" for i in range(40)]))
    assert found.frequency.stamps(found.first[0], 0, 1)[0] == np.datetime64("1960-01-01", "us")


DATES = {
    "d m y": lambda t, month, mark: f"{t.day}{mark}{month}{mark}{t.year}",
    "dd m y": lambda t, month, mark: f"{t.day:02}{mark}{month}{mark}{t.year}",
    "m d, y": lambda t, month, mark: f"{month}{mark}{t.day}, {t.year}",
    "m dth y": lambda t, month, mark: f"{month}{mark}{ordinal(t.day)}{mark}{t.year}",
    "dth m y": lambda t, month, mark: f"{ordinal(t.day)}{mark}{month}{mark}{t.year}",
    "y m d": lambda t, month, mark: f"{t.year}{mark}{month}{mark}{t.day:02}",
    "a, d m y": lambda t, month, mark: f"{t:%a}, {t.day}{mark}{month}{mark}{t.year}",
    "A m d y": lambda t, month, mark: f"{t:%A} {month} {t.day:>2}{mark}{t.year}",
}
MONTHS = {"b": "{:%b}", "b.": "{:%b}.", "B": "{:%B}", "upper": "{:%b}"}
CLOCKS = {
    "": lambda t: "", "H:M": lambda t: f" {t:%H:%M}", "T": lambda t: f"T{t:%H:%M:%S}", "p": lambda t: f" {t:%I:%M %p}",
    "p.m.": lambda t: f", {(t.hour + 11) % 12 + 1}:{t:%M} {'a.m.' if t.hour < 12 else 'p.m.'}",
}  # fmt: skip
ZONES = ["", "Z", " UTC", "+05:30", " EST", " CET", " CST"]


@given(
    st.sampled_from(sorted(DATES)), st.sampled_from(sorted(MONTHS)), st.sampled_from([" ", "-", "/", "."]),
    st.sampled_from(sorted(CLOCKS)), st.sampled_from(ZONES), st.integers(0, 20_000),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_dates_with_names_of_months_are_read_or_told(date, month, mark, clock, zone, begin):
    """In any order, with any marks, times of day and zones: the same times, or told; never others."""
    stamps = pandas.date_range("1960-01-01", periods=1, freq="D") + pandas.Timedelta(days=begin)
    stamps = pandas.date_range(stamps[0], periods=40, freq="6h" if clock else "D")
    texts = []
    for each in stamps:
        text = DATES[date](each, MONTHS[month].format(each), mark)
        texts.append((text.upper() if month == "upper" else text) + CLOCKS[clock](each) + (zone if clock else ""))
    truth = stamps.to_pydatetime().tolist()
    found = read_series(table(texts[:30], name="when"))
    if not found.form.parts:
        assert found.notes[0].startswith(f"t.csv, line 2, column 'when': {texts[0]!r} is no time. ")
        return
    first = found.frequency.stamps(found.first[0], 0, 30)
    assert found.form.clock(first).tolist() == truth[:30]
    # whether 1 stands there as 01 or as a space and 1 cannot be told from days of two digits
    assert [re.sub(r" +0?| *\b0", " ", each) for each in found.stamps(0, 30, 40)] == [
        re.sub(r" +0?| *\b0", " ", each) for each in texts[30:]
    ]
    if clock and zone.strip() in ("EST", "CET", "CST"):
        assert found.notes[0] == (
            f"the zone {zone.strip()!r} is kept as it is written, and its clock is taken to stay the same; for the clock "
            "of a place pass --zone, such as America/New_York"
        )


@pytest.mark.parametrize("place", ["America/New_York", "Europe/Berlin"])
def test_names_of_zones_that_change_need_a_place(place):
    stamps = pandas.date_range("2023-02-01", periods=7000, freq="h", tz=place)
    texts = [f"{each:%Y-%m-%d %H:%M %Z}" for each in stamps]
    summer, winter = sorted({each[-4:].strip() for each in texts}, key=lambda name: name[1] != "D" and name != "CEST")
    with pytest.raises(DataError) as caught:
        read_series(table(texts))
    names = " and ".join(map(repr, sorted((summer, winter))))
    assert str(caught.value) == (
        f"t.csv, column 'date': zones are written as {names}, and such a name has several meanings. Pass --zone with the "
        "place whose clock the stamps show, such as America/New_York"
    )
    found = read_series(table(texts[:6500]), reads=Reads(place=place))
    assert found.values[0].tolist() == list(range(6500))
    assert found.stamps(0, 6500, 7000) == texts[6500:]
    wrong = [text.replace(summer, winter) for text in texts]
    at = next(text for text, right in zip(wrong, texts, strict=True) if text != right)
    with pytest.raises(DataError) as caught:
        read_series(table(wrong), reads=Reads(place=place))
    assert str(caught.value) == f"t.csv, column 'date': {at!r}: the clock of {place} has no {winter} then"


def test_a_zone_by_name_among_others_is_asked():
    with pytest.raises(
        DataError, match=r"zones are written as 'EST', and such a name has several meanings\. Pass --zone"
    ):
        read_series(table([f"2024-01-01 {hour:02}:00 {'EST' if hour % 2 else 'UTC'}" for hour in range(20)]))


@pytest.mark.parametrize("text", ["2024-01-03 24:30", "2024-01-03 24:00:01", "2024-01-03 25:00"])
def test_no_other_time_than_midnight_is_of_hour_24(text):
    with pytest.raises(DataError, match=rf"^t\.csv, line 6, column 'date': '{text}' is no time; expected it as"):
        read_series(table([*(f"2024-01-0{day} 12:00:00"[: len(text)] for day in (1, 2, 3, 4)), text]))


def test_hours_from_1_to_24_are_one_day():
    texts = [f"2024-02-{day}" for day in (28, 29) for _ in range(24)]
    columns = {"date": texts, "hour": [str(hour) for _ in (1, 2) for hour in range(1, 25)], "x": ["1"] * 48}
    found = read_series(Table(columns, [f"line {i}" for i in range(48)], "t"), target="x")
    assert (found.frequency.words, len(found.values[0])) == ("every hour", 48)
    assert found.stamps(0, 47, 49) == ["2024-02-29 24:00", "2024-03-01 01:00"]


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (2567, "the years 2567 to 2576 are taken as of the Gregorian calendar; of the Thai one, subtract 543 first"),
        (1402, "the years 1402 to 1411 are taken as of the Gregorian calendar; convert those of another one first"),
        (2395, "the years 2395 to 2404 are taken as of the Gregorian calendar; convert those of another one first"),
        (1960, None),
    ],
)
@pytest.mark.parametrize("form", ["{}", "{}-01", "01/01/{}", "1 Jan {}"])
def test_years_of_other_calendars_are_told(first, told, form):
    found = read_series(table([form.format(year) for year in range(first, first + 10)]))
    assert found.frequency.words == "every year"
    assert [note for note in found.notes if "calendar" in note] == ([told] if told else [])


OF_LANGUAGES = {
    "de": (
        "{day}. {month} {year}",
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    ),
    "fr": (
        "{day} {month} {year}",
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    ),
    "es": (
        "{day} de {month} de {year}",
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    ),
    "es short": ("{day}-{month}-{year}", "ene feb mar abr may jun jul ago sep oct nov dic"),
    "ru": ("{day} {month} {year}", "января февраля марта апреля мая июня июля августа сентября октября ноября декабря"),
    "zh": ("{year}年{month}{day}日", "一月 二月 三月 四月 五月 六月 七月 八月 九月 十月 十一月 十二月"),
    "ja": ("令和6年{month}{day}日", "1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月"),
    "ko": ("{year}년 {month} {day}일", "1월 2월 3월 4월 5월 6월 7월 8월 9월 10월 11월 12월"),
}


@pytest.mark.parametrize("name", ["date", "Datum", "when", "x", "日期"])
@pytest.mark.parametrize("language", OF_LANGUAGES)
@pytest.mark.parametrize("begin", ["2024-01-01", "2024-04-20", "2024-05-01"])
def test_months_in_other_languages_are_told_with_what_to_do(name, language, begin):
    form, names = OF_LANGUAGES[language][0], OF_LANGUAGES[language][1].split()
    days = [each.item() for each in np.arange(begin, np.datetime64(begin) + 80)]
    texts = [form.format(day=each.day, month=names[each.month - 1], year=each.year) for each in days]
    columns = {name: texts, "v": list(map(str, range(80)))}
    table = Table(columns, [f"t.csv, line {i + 2}" for i in range(80)], "t.csv")
    told = "Names of months are read in English; write others as numbers, such as 2024-05-03"
    try:
        found = read_series(table)
    except DataError as fault:
        assert told in str(fault)  # noqa: PT017 - or a note
    else:  # May, June and July in Spanish are short as in English
        assert told in found.notes[0] or (found.first, found.frequency.words) == ([np.datetime64(begin)], "every day")


def test_chinese_days_are_read_and_written_so():
    days = [each.item() for each in np.arange("2024-04-20", "2024-06-20", dtype="datetime64[D]")]
    for form in ("{}年{}月{}日", "{} 年 {} 月 {} 日", "{}年{:02}月{:02}日"):
        texts = [form.format(each.year, each.month, each.day) for each in days]
        table = Table({"日期": texts, "v": list(map(str, range(61)))}, [f"line {i}" for i in range(61)], "t.csv")
        found = read_series(table)
        assert (found.frequency.words, found.stamps(0, 61, 62)) == ("every day", [form.format(2024, 6, 20)])


@given(begin=st.integers(1950, 2009), n=st.integers(2, 30), mark=st.sampled_from("-/"))
@settings(max_examples=30, deadline=None)
def test_years_that_go_on_into_the_next_are_no_months(begin, n, mark):
    texts = [f"{year}{mark}{(year + 1) % 100:02}" for year in range(begin, begin + n)]
    with pytest.raises(DataError, match=r"may be a year that goes on into the next|is no time"):
        read_series(table(texts))
    if begin >= 2001 and begin + n <= 2012:
        found = read_series(table(texts), reads=Reads(pattern=f"%Y{mark}%m"))
        assert found.frequency.words == "every 13 months"  # as the user says


@given(begin=st.dates(min_value=DAYS[0].date()), freq=st.sampled_from(["D", "B", "7D", "2D"]), day_first=st.booleans())
@settings(max_examples=40, deadline=None)
def test_dates_of_which_a_sheet_has_turned_a_part_are_refused(begin, freq, day_first):
    stamps = pandas.date_range(min(pandas.Timestamp(begin), pandas.Timestamp("2200-01-01")), periods=90, freq=freq)
    whole, turned = (
        ("%d/%m/%Y", "{0.month}/{0.day}/{0.year}") if day_first else ("%m/%d/%Y", "{0.day}/{0.month}/{0.year}")
    )
    good = [f"{each:{whole}}" for each in stamps]
    assert len(read_series(table(good)).values[0]) == 90
    mixed = [turned.format(each) if each.day <= 12 else text for each, text in zip(stamps, good, strict=True)]
    with pytest.raises(DataError, match="some stamps have the month first, others the day"):
        read_series(table(mixed))


@given(begin=st.integers(1800, 2150), month=st.integers(1, 12), n=st.integers(3, 60), mark=st.sampled_from("._:-/"))
@settings(max_examples=40, deadline=None)
def test_months_after_years_are_months_whatever_stands_between(begin, month, n, mark):
    stamps = months(f"{begin}-{month:02}", n)
    texts = [f"{each.year}{mark}{each.month:02}" for each in stamps]
    found = read_series(table(texts))
    assert found.frequency.words == "every month"
    assert found.stamps(0, 0, n) == texts


@pytest.mark.parametrize("form", ["%Y_%m_%d", "%Y_%m_%d_%H:%M", "%Y_%m_%d %H:%M"])
def test_dates_with_underscores_are_no_numbers(form):
    for stamps, words in ((DAYS, "every day"), (HOURS, "every hour")):
        texts = [f"{each:{form}}" for each in stamps]
        if len(set(texts)) == len(texts):
            found = read_series(table(texts))
            assert (found.frequency.words, found.stamps(0, 0, len(texts))) == (words, texts)


@pytest.mark.parametrize("text", ["['a', " * 200_000, "1 " * 500_000, "May " * 300_000, "2024-01-31 " * 100_000])
def test_a_long_text_is_no_stamp_at_once(text):
    """Each of its words was tried as a part of a date: minutes for a cell of ten megabytes."""
    assert readings(text) == []
