"""Tables as people have them: numbers, headers, delimiters and packings of any usual form, read rightly or refused."""

import bz2
import codecs
import gzip
import io
import json
import lzma
import random
import re
import time
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import unrolled
from unrolled.data.files import Faults, read_texts
from unrolled.data.items import lines_of, opened_file
from unrolled.data.labeled import read_labeled
from unrolled.data.numbers import is_number, numbers_of
from unrolled.data.rows import rows_of
from unrolled.data.table import Table, choose_column, is_table, of_frame, read_table
from unrolled.errors import DataError


def column(*texts, **options):
    """Values, faults and notes of a column that holds some texts."""
    table = Table({"x": list(texts)}, [f"t.csv, line {i + 2}" for i in range(len(texts))], "t.csv")
    faults, notes = Faults(), []
    found = numbers_of(table, ["x"], faults, notes, **options)["x"]
    return found.tolist(), faults.texts, notes


def written(number, decimal, group, digits):
    """A number as a country writes it."""
    text = f"{number:,.{digits}f}"
    return text.replace(",", "\0").replace(".", decimal).replace("\0", group)


COUNTRIES = [(",", "."), (",", "\u00a0"), (",", "\u202f"), (",", ""), (".", ","), (".", "'"), (".", ""), (".", " ")]


@pytest.mark.parametrize(("decimal", "group"), COUNTRIES)
@pytest.mark.parametrize("digits", [1, 2, 4])
def test_numbers_of_any_country_are_read_as_they_are_meant(decimal, group, digits):
    draw = random.Random(digits)
    numbers = [round(draw.uniform(-(10**size), 10**size), digits) for size in range(1, 8) for _ in range(5)]
    found, faults, notes = column(*(written(number, decimal, group, digits) for number in numbers))
    assert faults == []
    assert found == numbers
    assert bool(notes) == (decimal == "," or bool(group))


@given(st.lists(st.floats(-1e12, 1e12), min_size=1), st.sampled_from([",", "."]))
def test_a_given_decimal_mark_is_kept_to(numbers, decimal):
    texts = [repr(number).replace(".", decimal) for number in numbers]
    assert column(*texts, decimal=decimal)[:2] == (numbers, [])


def test_a_decimal_comma_is_told_from_the_column_and_said():
    assert column("50,24", "7", "", "1.234,56") == (
        [50.24, 7, pytest.approx(np.nan, nan_ok=True), 1234.56], [],
        ["column 'x': numbers with a decimal comma ('50,24' is 50.24); if that is wrong, pass --decimal"],
    )  # fmt: skip
    assert column("1,204.5", "3") == (
        [1204.5, 3], [],
        ["column 'x': numbers with thousands apart ('1,204.5' is 1204.5); if that is wrong, pass --decimal"],
    )  # fmt: skip
    assert column("1.5", "1.234", "\u22125") == ([1.5, 1.234, -5], [], [])


def test_what_may_be_two_numbers_is_asked():
    assert column("1,234", "5,678")[1] == [
        "t.csv, line 2, column 'x': '1,234' may be 1234 or 1.234. Pass --decimal . if ',' groups thousands, "
        "--decimal , if it is the decimal mark"
    ]
    assert column("1,234", decimal=",")[0] == [1.234]
    assert column("1,234", decimal=".")[0] == [1234]
    assert column("3", "50,24", "7.5")[1] == [
        "t.csv, line 4, column 'x': '7.5' has another decimal mark than '50,24' in t.csv, line 3. Mend the column, or "
        "pass --decimal with one of , and ."
    ]


def test_other_columns_tell_what_a_column_leaves_open():
    for beside, number in (("0,5", 1.234), ("0.5", 1234.0)):
        table = Table({"x": ["1,234"], "y": [beside]}, ["l 2"], "t")
        faults, notes = Faults(), []
        assert numbers_of(table, ["x"], faults, notes)["x"].tolist() == [number]
        assert faults.texts == []
        assert len(notes) == 1
    table = Table({"x": ["1.234"], "y": ["0,5"]}, ["l 2"], "t")
    notes = []
    assert numbers_of(table, ["x", "y"], Faults(), notes)["x"].tolist() == [1234.0]
    assert notes[0].startswith("column 'x': numbers with thousands apart ('1.234' is 1234)")


@pytest.mark.parametrize("options", [{"thousands": ","}, {"decimal": "."}, {"decimal": ".", "thousands": ","}])
def test_a_decimal_comma_is_never_taken_for_thousands(options):
    assert column("50,24", **options)[1] == [
        "t.csv, line 2, column 'x': '50,24' is not a number with '.' as the decimal mark. If ',' is, pass --decimal ,"
    ]
    assert column("1", decimal=",", thousands=",")[1] == [
        "',' cannot be the decimal mark and stand between thousands; leave one out"
    ]


@given(st.text(alphabet="0123456789.,-+ 'eE\u2212", max_size=9))
def test_any_text_is_one_number_or_none(text):
    found, faults, _ = column(text)
    if faults:
        assert np.isnan(found[0]) or np.isinf(found[0])
    else:
        assert is_number(text)


def table_of(tmp_path, text, name="t.csv", **options):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table([path], **options)


def told(tmp_path, *arguments, **options):
    with pytest.raises(DataError) as caught:
        table_of(tmp_path, *arguments, **options)
    return str(caught.value).replace(f"{tmp_path}/", "")


ADVICE = (
    ", so it looks like data and not like the names of the columns. Pass --no-header if it is data, --header if these "
    "are the names"
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", "'5.1' stands above numbers, in column 1"),
        ("good food,pos\nbad food,neg\nfine,pos\n", "'pos' stands below it too, in column 2"),
        ("2024-01-01;17,5\n2024-01-02;18,5\n", "'2024-01-01' stands above dates, in column 1"),
        ("a,1\nb,2\n", "'1' stands above numbers, in column 2"),
    ],
)
def test_a_missing_header_is_told(tmp_path, text, reason):
    assert told(tmp_path, text) == f"t.csv, line 1: {reason}{ADVICE}"
    table = table_of(tmp_path, text, header=False)
    assert list(table.columns) == [str(i + 1) for i in range(len(table.columns))]
    assert len(table) == text.count("\n")
    assert len(table_of(tmp_path, text, header=True)) == text.count("\n") - 1


@given(st.integers(1, 4), st.integers(2, 30), st.booleans(), st.randoms(use_true_random=False))
def test_headers_are_told_from_data(n_numbers, n_rows, has_text, draw):
    import tempfile
    from pathlib import Path

    rows = [
        [*([f"text {i} of {draw.random()}", draw.choice("ab")] if has_text else []),
         *(f"{draw.uniform(-9, 9):.3f}" for _ in range(n_numbers))]
        for i in range(n_rows)
    ]  # fmt: skip
    head = [f"name {i}" for i in range(len(rows[0]))]
    with tempfile.TemporaryDirectory() as folder:
        text = lambda *some: "".join(",".join(row) + "\n" for row in some)
        assert list(table_of(Path(folder), text(head, *rows)).columns) == head
        assert ADVICE in told(Path(folder), text(*rows))


def test_a_header_where_none_should_be_is_told(tmp_path):
    assert told(tmp_path, "day,n\n2024-01-01,5\n2024-01-02,6\n", header=False) == (
        "t.csv, line 1: 'day' stands above dates, as names of columns do; pass --header".replace("dates", "numbers")
    )
    assert len(table_of(tmp_path, "n/a,x\n5,y\n", header=False)) == 2


def test_numbers_that_are_names(tmp_path):
    assert list(table_of(tmp_path, "0,1,2\n5,6,7\n").columns) == ["0", "1", "2"]  # as pandas names them
    assert list(table_of(tmp_path, "country,2010,2011,2012\nA,5,6,7\nB,8,9,1\n").columns)[3] == "2012"
    assert list(table_of(tmp_path, ",text,\n0,a,b\n").columns) == ["1", "text", "3"]


def test_names_that_stand_twice_have_their_places(tmp_path):
    assert told(tmp_path, "a,b,a,c,a,b\n1,2,3,4,5,6\n") == (
        "t.csv, line 1: the columns 1, 3 and 5 are all named 'a'; the columns 2 and 6 are both named 'b'. Give each a "
        "name of its own, or pass --no-header to number them"
    )
    assert told(tmp_path, '{"a": 1, "a": 2}\n', "t.jsonl") == "t.csv, line 1: has 'a' twice".replace("csv", "jsonl")
    pandas = pytest.importorskip("pandas")
    with pytest.raises(DataError, match=r"^the table: .*a"):
        of_frame(pandas.DataFrame([[1, 2]], columns=["a", "a"]))


@pytest.mark.parametrize("form", ["lines", "array"])
def test_what_an_object_of_json_lacks_is_an_empty_cell(tmp_path, form):
    objects = ['{"day": 1, "wages": 5}', '{"day": 2}', '{"wages": 7, "day": 3, "rain": "no"}', '{"day": null}', "{}"]
    content = "\n".join(objects) if form == "lines" else f"[{', '.join(objects)}]"
    table = table_of(tmp_path, content, "t.jsonl" if form == "lines" else "t.json")
    assert table.columns == {
        "day": ["1", "2", "3", "", ""],
        "wages": ["5", "", "7", "", ""],
        "rain": ["", "", "no", "", ""],
    }


def test_json_without_an_object_is_told(tmp_path):
    expected = 't.jsonl, line {}: expected an object such as {{"text": ..., "label": ...}}'
    assert told(tmp_path, "[1,\n2]", "t.jsonl") == f"{expected.format(1)}\n  {expected.format(2)}"
    assert told(tmp_path, "{1}\n", "t.jsonl").startswith("t.jsonl, line 1: is no JSON: ")


@pytest.mark.parametrize("index", [[0, 1, 2], ["2024-01-01", "2024-01-02", "2024-01-03"], [-86400000, 0, 86400000]])
@pytest.mark.parametrize("orient", ["columns", "index"])
@pytest.mark.parametrize("indent", [None, 2])
def test_what_pandas_writes_in_one_object_is_told(tmp_path, index, orient, indent):
    import pandas as pd

    frame = pd.DataFrame({"text": ["good", "bad", "fine"], "label": ["+", "-", "+"]}, index=index)
    path = tmp_path / "t.json"
    frame.to_json(path, orient=orient, indent=indent)
    with pytest.raises(DataError) as told:
        read_table([path])
    assert str(told.value) == (
        f"{path}: is one JSON object with all rows in it, as DataFrame.to_json(path) writes them; expected an object "
        "for each row, as DataFrame.to_json(path, orient='records', lines=True) writes them"
    )
    frame.to_json(path, orient="records", lines=True)
    assert read_table([path]).columns == {"text": ["good", "bad", "fine"], "label": ["+", "-", "+"]}


@pytest.mark.parametrize(
    "row",
    [
        {"a": {"x": 1}, "b": {"x": 2}},
        {"a": 1, "0": 2},
        {"translation": {"en": "a", "de": "b"}},
        {"a": {}},
        {"a": {"0": 1, "1": 2}, "b": {"x": 1, "y": 2}},
        {"a": {"0": 1, "1": 2}, "b": 1},
    ],
)
def test_a_row_of_json_by_itself_is_a_row(row):
    head, rows = rows_of("t.jsonl", json.dumps(row) + "\n", Faults(), [])
    assert head == list(row)
    assert len(list(rows)) == 1


def test_a_header_in_between_is_told(tmp_path):
    assert told(tmp_path, "text,n\na,1\ntext,n\nb,2\n") == "t.csv, line 3: is the header again; leave it out"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_marks_and_line_ends_of_any_program(tmp_path, delimiter, encoding, end):
    rows = [["größe", "Preis, netto"], ['say "hi"; so', "1,5"], ["a|b", "2,5"]]
    quoted = lambda text: '"' + text.replace('"', '""') + '"'
    text = "".join(delimiter.join(map(quoted, row)) + end for row in rows)
    table = table_of(tmp_path, text.encode(encoding))
    assert table.columns == {"größe": ['say "hi"; so', "a|b"], "Preis, netto": ["1,5", "2,5"]}


def test_what_excel_writes(tmp_path):
    assert table_of(tmp_path, "sep=;\na;b\n1,5;2\n").columns == {"a": ["1,5"], "b": ["2"]}
    assert table_of(tmp_path, "sep=;\na;b\n1,5;2\n").places == ["%s/t.csv, line 3" % tmp_path]  # noqa: UP031
    assert table_of(tmp_path, 'a\tb\nsay "hi\tx\n').columns["a"] == ['say "hi']
    # a comma and a semicolon stand as often in the first line
    assert table_of(tmp_path, "datum;preis in EUR, netto\n1.1.;5\n2.1.;6\n").columns["preis in EUR, netto"] == [
        "5",
        "6",
    ]


def sheet(*rows):
    """A workbook with a sheet, as Excel writes it."""
    cells = lambda row: "".join(
        f"<c><v>{value}</v></c>" if isinstance(value, int | float) else f'<c t="inlineStr"><is><t>{value}</t></is></c>'
        for value in row
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    package = "http://schemas.openxmlformats.org/package/2006"
    document = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{package}/content-types"/>')
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" Type="{document}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{document}"><sheets><sheet name="one" sheetId="1" r:id="r1"/></sheets>'
            "</workbook>",
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" Type="{document}/worksheet" '
            'Target="worksheets/sheet1.xml"/></Relationships>',
        )
        rows = "".join(f"<row>{cells(row)}</row>" for row in rows)
        archive.writestr(
            "xl/worksheets/sheet1.xml", f'<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>'
        )
    return content.getvalue()


def test_workbooks(tmp_path):
    pytest.importorskip("python_calamine")
    content = sheet(["text", "n", "share"], ["good, fast", 3, 0.5], ["late", 4, 1.25])
    table = table_of(tmp_path, content, "t.xlsx")
    assert table.columns == {"text": ["good, fast", "late"], "n": ["3", "4"], "share": ["0.5", "1.25"]}
    assert table.places == [f"{tmp_path}/t.xlsx, row {i}" for i in (2, 3)]
    assert told(tmp_path, sheet([5.5, "a"], [6.5, "b"]), "t.xlsx") == (
        f"t.xlsx, row 1: '5.5' stands above numbers, in column 1{ADVICE}"
    )
    assert told(tmp_path, content[:-60], "t.xlsx").startswith("t.xlsx: is a zip archive that cannot be read: ")
    with pytest.raises(DataError) as caught:
        read_texts([tmp_path / "w.xlsx"] if (tmp_path / "w.xlsx").write_bytes(content) else [])
    assert str(caught.value) == f"{tmp_path}/w.xlsx: is an Excel workbook: expected text. Save the sheet as CSV"


def zipped(**files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name.replace("_", "."), text)
    return content.getvalue()


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, lambda text: zipped(a_csv=text, __MACOSX_x="y")][:4]
)
def test_packed_tables(tmp_path, pack):
    text = b"text,label\ngood,up\nbad,down\n"
    packed = zipped(a_csv=text) if pack not in (gzip.compress, bz2.compress, lzma.compress) else pack(text)
    assert table_of(tmp_path, packed, "t.csv.gz").columns["text"] == ["good", "bad"]
    (tmp_path / "t.txt.gz").write_bytes(packed)
    assert list(read_texts([tmp_path / "t.txt.gz"])[0].values()) == [text.decode()]
    assert "damaged" in (cut := told(tmp_path, packed[:-9], "t.csv.gz")) or "cannot be read" in cut


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_lines_of_a_packed_file_that_is_damaged_anywhere_are_told(tmp_path, pack, encoding):
    packed = pack("\n".join(f"good food {i * 7919 % 1000003}" for i in range(5000)).encode(encoding))
    path = tmp_path / "t.txt"
    for part in range(1, 20):
        at = 11 + (len(packed) - 11) * part // 20
        for content in (packed[:at], packed[:at] + bytes(9) + packed[at + 9 :]):
            path.write_bytes(content)
            with pytest.raises(DataError, match=f"^{re.escape(str(path))}"):
                list(lines_of(opened_file(path), str(path), encoding))
    path.write_bytes(packed)
    assert len(list(lines_of(opened_file(path), str(path), encoding))) == 5000


def test_archives_that_hold_too_much(tmp_path):
    assert told(tmp_path, zipped(a_csv="x", b_csv="y"), "t.zip") == (
        "t.zip: is a zip archive of 2 files (a.csv, b.csv); expected one. Unpack it, and name the files to read"
    )
    for name, bomb in (("gzip", gzip.compress(bytes(2**27))), ("zip", zipped(a_csv=bytes(2**27)))):
        found = told(tmp_path, bomb, "t.gz")
        assert found.startswith(f"t.gz: is packed with {name} in {len(bomb):,} bytes and holds more than ")
        assert found.endswith("Unpack it, and name what it holds")


KINDS = {
    "a PDF document": b"%PDF-1.7\n", "a PNG picture": b"\x89PNG\r\n\x1a\n", "a JPEG picture": b"\xff\xd8\xff\xe0",
    "a WAV sound": b"RIFF\0\0\0\0WAVE", "a SQLite database".replace("a S", "an S"): b"SQLite format 3\0",
    "a NumPy array": b"\x93NUMPY\x01", "a 7-Zip archive": b"7z\xbc\xaf\x27\x1c", "a tar archive": bytes(257) + b"ustar",
    "packed with zstd": b"\x28\xb5\x2f\xfd", "an HDF5 file": b"\x89HDF\r\n\x1a\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_what_is_no_text_is_named_and_never_offered_an_encoding(tmp_path, kind, encoding):
    noise = random.Random(3).randbytes(5000)
    for content, words in ((KINDS[kind] + noise, f"is {kind}"), (noise, "is no text, but binary data")):
        found = told(tmp_path, content, encoding=encoding)
        assert found.startswith(f"t.csv: {words}")
        assert "--encoding" not in found


def test_encodings_are_guessed_for_advice(tmp_path):
    for text, encoding, name in (
        ("text,label\n味道很好,好\n送餐太慢,坏\n", "gb18030", "gb18030"), ("text,l\nschön,gut\n", "latin-1", "latin-1"),
        ("text,l\n“schön”,gut\n", "cp1252", "cp1252"),
    ):  # fmt: skip
        assert f"Pass --encoding with the right one (such as {name})" in told(tmp_path, text.encode(encoding))


@pytest.mark.parametrize(
    "text", ["Größe;Süß\n1;2\n", "n;Süß\n", "créée;créé\n1;2\n", "a;Preis auf Bäume, Größe\n", "naïve\n"]
)
@pytest.mark.parametrize("begin", [b"", codecs.BOM_UTF8])
def test_accents_side_by_side_are_no_chinese(tmp_path, text, begin):
    first = re.search("[^ -~\n]", text)
    line = text.count("\n", 0, first.start()) + 1
    assert told(tmp_path, begin + text.encode("latin-1")) == (
        f"t.csv, line {line}: byte 0x{ord(first[0]):02x} is not utf-8. Pass --encoding with the right one (such as latin-1)"
    )


@pytest.mark.parametrize("encoding", ["ascii", "gb18030"])
def test_what_is_utf_8_is_told(tmp_path, encoding):
    assert "Pass --encoding with the right one (such as utf-8)" in told(
        tmp_path, "日期,größe\n三,1\n".encode(), encoding=encoding
    )


def test_arrays_of_json(tmp_path):
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": 2}]
    for indent in (None, 1):
        table = table_of(tmp_path, json.dumps(rows, indent=indent), "t.json")
        assert table.columns == {"text": ["a", "b"], "label": ["1", "2"]}
    assert told(tmp_path, '[\n{"a": 1},\n{"a" 2}]', "t.json").startswith("t.json, line 3: is no JSON: ")


def test_names_of_tables():
    from pathlib import Path

    assert [is_table(Path(name)) for name in ("a.csv", "a.CSV.gz", "b.c.xlsx", "a.txt", "a.gz", "csv", "a.csv.txt")] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("is_named", [True, False])
def test_a_hundred_thousand_columns(tmp_path, is_named):
    """Quadratic, the names alone took an hour."""
    n, begin = 100_000, time.perf_counter()
    head = ",".join(f"c{i}" if is_named else "a" for i in range(n))
    text = f"{head}\n" + "\n".join(",".join(["1.5"] * n) for _ in range(3)) + "\n"
    if is_named:
        assert len(table_of(tmp_path, text).columns) == n
        with pytest.raises(DataError) as caught:
            read_labeled([tmp_path / "t.csv"])
        assert "'c19' and 99,980 more. " in str(caught.value)
    else:
        assert "are all named 'a'" in told(tmp_path, text)
    assert time.perf_counter() - begin < 30


def test_a_field_without_end(tmp_path):
    begin = time.perf_counter()
    assert told(tmp_path, 'text,label\n"' + "word " * 12_000_000 + '",up\n') == (
        "t.csv, line 2: a field has more than 50,000,000 characters; is a quotation mark left open?"
    )
    assert time.perf_counter() - begin < 30


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("text,label\n", "t.csv: holds no rows below the names of its columns"),
        ("text,label\na,b\n", "there is one sample only; expected at least 2 of each class, better hundreds"),
        ("text,label\na,b\nc,b\nd,b\n", "there is one class only, 'b'; a classifier needs at least two to tell apart"),
    ],
)
def test_tables_of_few_rows(tmp_path, text, told):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        unrolled.ClassifyModel().fit(tmp_path / "t.csv")
    assert str(caught.value).replace(f"{tmp_path}/", "") == told


def test_classes_that_are_none(tmp_path):
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"a b {i},n{i}\n" for i in range(5000)))
    assert read_labeled([tmp_path / "t.csv"]).notes[1] == (
        "most labels stand at one text alone; are the classes in another column than 'label'?"
    )
    begin = time.perf_counter()
    with pytest.raises(DataError) as caught:
        unrolled.ClassifyModel().fit(tmp_path / "t.csv")
    assert str(caught.value).endswith(" classes; expected at most 3,000. Is it the right column?")
    assert time.perf_counter() - begin < 20


def test_folders_and_files_as_classes(tmp_path):
    for label, text in (("pos", "so good"), ("neg", "so bad\nand late")):
        (tmp_path / "texts" / label).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "texts" / label / f"{i}.txt").write_text(f"{text} {i}")
        (tmp_path / "lines").mkdir(exist_ok=True)
        (tmp_path / "lines" / f"{label}.txt").write_text(f"{text}\n\nmore {label}\n")
        (tmp_path / f"polarity.{label}").write_text(f"{text}\n")
    data = read_labeled([tmp_path / "texts"])
    assert data.labels == [["neg"]] * 3 + [["pos"]] * 3
    assert data.items[0] == "so bad\nand late 0"
    assert data.notes == ("6 texts: files are texts, and folders classes ('neg' 3, 'pos' 3)",)
    data = read_labeled([tmp_path / "lines"])
    assert data.notes == ("5 texts: lines are texts, and files classes ('neg' 3, 'pos' 2)",)
    assert data.items == read_labeled([tmp_path / "lines/neg.txt", tmp_path / "lines/pos.txt"]).items
    data = read_labeled([tmp_path / "polarity.pos", tmp_path / "polarity.neg"])
    assert data.labels == [["pos"], ["neg"], ["neg"]]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        read_labeled([tmp_path / "empty"])
    assert str(caught.value) == (
        f"{tmp_path}/empty: is a folder; expected a sub-folder for each class with a text a file, or a file for each "
        "class with a text a line. Of tables name the files"
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[" * 50_000, "line 1: is no JSON: "),
        ("[1, 2]", "line 1: expected an object such as "),
        ('{"a": 1', "line 1: is no JSON: "),
        ("{oh}\n{no}\n", "line 1: is no JSON: "),
        ("[]", "holds no rows"),
    ],
)
def test_a_file_without_a_readable_row_is_told_by_its_faults_alone(content, text, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError) as caught:
        read_table([tmp_path / "a.json"], choose=lambda name, head: [choose_column(name, head, None, ["text"], "text")])
    assert text in str(caught.value)
    assert "which column" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        (
            "Chins Situps Jumps\n5 162 60\n2 110 60\n",
            {"Chins": ["5", "2"], "Situps": ["162", "110"], "Jumps": ["60", "60"]},
        ),
        (" 'a b'  'c' \n  1.5   -2e3\n 2.25  4\n", {"a b": ["1.5", "2.25"], "c": ["-2e3", "4"]}),
        ("'popul'\t'vote'\n0\t1\n190\t0\n", {"popul": ["0", "190"], "vote": ["1", "0"]}),
        ('name x "the y"\nada 1 2\n"bob c" 3 4\n', {"name": ["ada", "bob c"], "x": ["1", "3"], "the y": ["2", "4"]}),
        ("time stamp\n2024-01-01 12:00\n2024-01-02 12:00\n", {"time stamp": ["2024-01-01 12:00", "2024-01-02 12:00"]}),
        ("stamp\n2024-01-01 12:00\n2024-01-02 12:00\n", {"stamp": ["2024-01-01 12:00", "2024-01-02 12:00"]}),
        ("what they said\nvery good indeed\nnot so good\n", {"what they said": ["very good indeed", "not so good"]}),
        ("value\n1 234\n5 678\n", {"value": ["1 234", "5 678"]}),
    ],
)
def test_columns_between_spaces_and_names_in_single_quotes(tmp_path, text, columns):
    (tmp_path / "t.txt").write_text(text)
    assert read_table([tmp_path / "t.txt"]).columns == columns


def test_numbers_with_powers_of_ten_are_no_names(tmp_path):
    (tmp_path / "t.csv").write_text("1.51e+02\n7.5e+01\n-2E2\n")
    with pytest.raises(DataError) as told:
        read_table([tmp_path / "t.csv"])
    assert str(told.value) == (
        f"{tmp_path}/t.csv, line 1: '1.51e+02' stands above numbers, in column 1, so it looks like data and not like the "
        "names of the columns. Pass --no-header if it is data, --header if these are the names"
    )
    assert read_table([tmp_path / "t.csv"], header=False).columns == {"1": ["1.51e+02", "7.5e+01", "-2E2"]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "3,4,setosa\n" + "1,2,3,4,0\n" * 9,
            "t.csv: the header has 3 columns, each of the 9 lines below it 5. If the header does not name the columns, "
            "delete it",
        ),
        (
            "a,b\n" + "x,1,2\n" * 3,
            "t.csv: the header has 2 columns, each of the 3 lines below it 3. If the first column numbers or names the "
            "rows, begin the header with a name for it",
        ),
        (
            "a,b\n" + "1,2\n" * 5 + "1\n" * 7,
            "\n  ".join(f"t.csv, line {line}: has 1 column, the header 2" for line in range(7, 12))
            + "\n  t.csv: 2 lines more have another number of columns than the header",
        ),
    ],
)
def test_lines_of_another_width_are_told_in_few_lines(tmp_path, monkeypatch, text, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError) as found:
        read_table(["t.csv"])
    assert str(found.value) == told


TITLED = {
    "one": ("Monthly sales of wine", 1, "line 1 is left out, above the names of the columns: 'Monthly sales of wine'"),
    "and a blank": ("Sales\n", 2, "lines 1 to 2 are left out, above the names of the columns: 'Sales'"),
    "several": ("Data Source,World Bank\n\nLast Updated,2024-01-31\n", 4,
                "lines 1 to 4 are left out, above the names of the columns: 'Data Source,World Bank', 'Last "
                "Updated,2024-01-31'"),
    "quoted": ('"Sales, by month (in 1,000 l, all of them)"', 1,
               "line 1 is left out, above the names of the columns: 'Sales, by month (in 1,000 l, all of t...'"),
}  # fmt: skip


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("kind", TITLED)
def test_titles_above_the_names_are_left_out_and_told(tmp_path, monkeypatch, kind, mark):
    monkeypatch.chdir(tmp_path)
    above, n_lines, told = TITLED[kind]
    rows = [["month", "red", "white", "rosé", "sparkling"]] + [
        [f"2024-0{i}", "1", "2", "3", f"{i}"] for i in range(1, 8)
    ]
    (tmp_path / "t.csv").write_text("\n".join([above, *(mark.join(row) for row in rows)]) + "\n")
    found = read_table(["t.csv"])
    assert list(found.columns) == rows[0]
    assert found.columns["sparkling"] == [row[-1] for row in rows[1:]]
    assert found.places[0] == f"t.csv, line {n_lines + 2}"
    assert found.notes == (f"t.csv: {told}",)


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_titles_as_sheets_have_them_are_left_out_and_told(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    rows = [
        ["Sales of wine", "", ""],
        ["", "", ""],
        ["month", "red", "white"],
        ["2024-01", "1", "2"],
        ["2024-02", "3", "4"],
    ]
    if suffix == "xlsx":
        (tmp_path / "t.xlsx").write_bytes(sheet(*rows))
    else:
        (tmp_path / "t.csv").write_text("\n".join(map(",".join, rows)))
    found = read_table([f"t.{suffix}"])
    assert found.columns == {"month": ["2024-01", "2024-02"], "red": ["1", "3"], "white": ["2", "4"]}
    where = "lines 1 to 2 are" if suffix == "csv" else "row 1 is"
    assert found.notes == (f"t.{suffix}: {where} left out, above the names of the columns: 'Sales of wine'",)


@pytest.mark.parametrize(
    "text",
    [
        ",text\na,good food\nb,bad food\nc,fine food\n",  # pandas' index
        "word,\nfoo,bar\nbaz,bar\nfoo,foo\n",
        "text,label\ngood,1\nbad,0\nfine,1\n",
        "a,b,c\n1,2,3\n4,5,6\n",
    ],
)
def test_names_of_columns_are_no_titles(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    found = read_table([tmp_path / "t.csv"])
    assert found.notes == ()
    assert len(found.places) == len(text.splitlines()) - 1


@given(
    st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=3), min_size=2, max_size=8),
    st.sampled_from(["\t", ";"]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_commas_within_fields_are_no_delimiter(rows, delimiter, has_head):
    """Lists in brackets between tabs, as vaderSentiment's lexicon has, and decimal commas between semicolons."""
    cells = [
        [f"w{i}", str(row) if delimiter == "\t" else f"{row[0]},{abs(row[1])}", f"{row[2]},5"]
        for i, row in enumerate(rows)
    ]
    head = [["word", "list, of three,", "x,"]] if has_head and delimiter == "\t" else []
    text = "".join(delimiter.join(line) + "\n" for line in head + cells)
    names, found = rows_of("t", text, Faults(), [], header=bool(head))
    assert names == (head[0] if head else ["1", "2", "3"])
    assert [row for _, row in found] == cells
