"""Files of sentences, texts and commands: read as they lie, faults told with their lines, all at once."""

import contextlib
import json
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data import schemes
from unrolled.data.intents import read_intents
from unrolled.data.items import ItemForm
from unrolled.data.labeled import Labeled, labeled_frame, read_labeled
from unrolled.data.schemes import spans_of
from unrolled.data.table import of_frame, read_table
from unrolled.data.tagged import read_tagged, sentences_of
from unrolled.errors import DataError


def written(tmp_path, text, name="file.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def faults(call, tmp_path):
    with pytest.raises(DataError) as caught:
        call()
    return str(caught.value).replace(f"{tmp_path}/", "").split("\n  ")


def test_columns(tmp_path):
    text = "-DOCSTART- O\n\n# a comment here\nEU NNP B-ORG\nrejects VB O\n\n\nPeter NNP B-PER\r\nBlack NNP I-PER\r\n"
    data = read_tagged([written(tmp_path, text)])
    assert data.sentences == [["EU", "rejects"], ["Peter", "Black"]]
    assert data.tags == [["B-ORG", "O"], ["B-PER", "I-PER"]]
    assert data.scheme == "BIO"
    assert data.notes == [
        "2 sentences, 4 tokens, tags in the scheme BIO",
        f"{tmp_path / 'file.txt'}: tokens from column 1, tags from column 3; else pass --token and --tag",
    ]


def test_hash_signs_are_tokens_too(tmp_path):
    data = read_tagged([written(tmp_path, "#wow\tO\n#\tO\n\n# O\n")])
    assert data.sentences == [["#wow", "#"], ["#"]]


def test_json_lines_of_tokens_and_of_spans(tmp_path):
    rows = [
        {"tokens": ["Ada", "sat"], "tags": ["S-PER", "O"]},
        {
            "text": "In New York, Bob.",
            "spans": [{"start": 3, "end": 11, "label": "LOC"}, {"start": 13, "end": 16, "label": "PER"}],
        },
    ]
    data = read_tagged([written(tmp_path, "\n".join(map(json.dumps, rows)))])
    assert data.sentences[1] == ["In", "New", "York", ",", "Bob", "."]
    assert [(span.start, span.end, span.label) for span in spans_of(data.tags[1], data.scheme)] == [
        (1, 3, "LOC"),
        (4, 5, "PER"),
    ]


def test_faults_of_tagged_files_are_told_at_once(tmp_path):
    text = "EU NNP B-ORG\nrejects O\nalone\n\nfine NN O\n"
    assert faults(lambda: read_tagged([written(tmp_path, text)]), tmp_path) == [
        "file.txt, line 2: has 2 columns, the sentence's lines before 3",
        "file.txt, line 3: 'alone' has no tag; expected a token, a space or tab, and its tag",
    ]
    lines = [
        '{"tokens": ["a", "b"], "tags": ["O"]}', "{no", '{"text": "ab cd", "spans": [{"start": 1, "end": 5, "label": "X"}]}',
        '{"text": "ab", "spans": [{"start": 0}]}', '{"tokens": [""], "tags": ["O"]}', '["x"]',
    ]  # fmt: skip
    found = faults(lambda: read_tagged([written(tmp_path, "\n".join(lines))]), tmp_path)
    assert found[0] == "file.txt, line 1: 2 tokens and 1 tag; expected as many tags as tokens"
    assert found[1].startswith("file.txt, line 2: is no JSON: ")
    assert found[2] == "file.txt, line 3: the span 1 to 5, 'b cd', does not begin and end with tokens"
    assert found[3].startswith('file.txt, line 4: a span must be {"start": ...')
    assert found[4] == "file.txt, line 5: 'tokens' must be a list of texts, none of them empty"
    assert found[5] == (
        'file.txt, line 6: expected {"tokens": [...], "tags": [...]} or {"text": ..., "spans": [...]}; it is no object'
    )
    assert len(found) == 6


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "value",
    [
        [{"tokens": ["Anna", "lives"], "tags": ["B-PER", "O"]}] * 3,
        [["Anna lives", {"entities": [[0, 4, "PER"]]}]],
        ["Anna lives"],
        [],
    ],
)
def test_one_json_array_is_no_tokens_and_tags(tmp_path, value, indent):
    """It was read as CoNLL: the token '[{"tokens":' with the tag '"O"]}]'."""
    path = written(tmp_path, json.dumps(value, indent=indent))
    told = ["file.txt: is one JSON array; expected JSON lines, an object a line without commas between"]
    assert faults(lambda: read_tagged([path]), tmp_path) == told
    assert faults(lambda: sentences_of(path, ItemForm(), ["O"]), tmp_path) == told


def test_tokens_may_begin_with_a_bracket(tmp_path):
    path = written(tmp_path, "[ O\na B-X\n] O\n\n[1] O\n")
    assert read_tagged([path]).sentences == [["[", "a", "]"], ["[1]"]]
    assert "2 tagged sentences" in sentences_of(path, ItemForm(), ["O", "B-X"]).note


@pytest.mark.parametrize("others", [{}, {"id": 1}, {"ner_tags": ["O"], "x" * 50: 2}])
@pytest.mark.parametrize("read", [read_tagged, lambda files: read_intents(files)])
def test_an_object_of_other_keys_is_told_by_what_it_has(tmp_path, read, others):
    """Of whatever is missing: the faults name the keys that are there."""
    whole = {"tokens": ["a"], "tags": ["O"], "intent": "i"}
    for missing in whole if read is not read_tagged else ["tokens", "tags"]:
        item = {key: value for key, value in whole.items() if key != missing} | others
        [fault] = faults(lambda item=item: read([written(tmp_path, json.dumps(item))]), tmp_path)
        has = ", ".join(repr(key if len(key) <= 40 else f"{key[:37]}...") for key in item)
        assert fault.endswith(f"; it has {has}")


def test_tags_that_do_not_fit_are_noted(tmp_path):
    data = read_tagged([written(tmp_path, "a B-X\nb O\nc I-X\n")])
    assert data.scheme == "BIO"
    assert data.notes[1].replace(f"{tmp_path}/", "") == (
        "1 tag does not fit the scheme and is read as conlleval reads them: 'I-X' in file.txt, line 3"
    )


SENTENCES = {"BIO": ["B-X", "I-X", "O", "B-Y"], "IOB1": ["I-X", "B-X", "O", "I-Y"], "BIOES": ["B-X", "I-X", "E-X", "S-Y"],
             "BMES": ["B-X", "M-X", "E-X", "S-Y"], "BILOU": ["B-X", "I-X", "L-X", "U-Y"]}  # fmt: skip


@pytest.mark.parametrize("scheme", SENTENCES)
@pytest.mark.parametrize("stray", ["PER", "E-X", "S-Y", "M-X", "B-X", "I-X", "L-X", "0", "b-X", "B_X", "X-Y-Z", "-"])
@pytest.mark.parametrize("at", [0, 2, 4])
def test_one_stray_tag_does_not_switch_the_scheme(tmp_path, scheme, stray, at):
    sentence = "".join(f"w{i} {tag}\n" for i, tag in enumerate(SENTENCES[scheme])) + "\n"
    odd = [*SENTENCES[scheme][:at], stray, *SENTENCES[scheme][at:]]
    text = sentence * 20 + "".join(f"w {tag}\n" for tag in odd) + "\n" + sentence * 20
    data = read_tagged([written(tmp_path, text)])
    assert data.scheme == scheme
    line = 20 * 5 + at + 1
    if schemes.is_odd(stray, scheme):
        assert data.tags[20] == [*odd[:at], "O", *odd[at + 1 :]]
        assert data.notes[1].replace(f"{tmp_path}/", "") == (
            f"1 tag is not of the scheme {scheme} and counts as O: {stray!r} in file.txt, line {line}"
        )
    else:
        assert data.tags[20] == odd


def test_many_tags_of_no_scheme_are_refused(tmp_path):
    with pytest.raises(DataError) as caught:
        read_tagged([written(tmp_path, "a B-X\nb PER\nc LOC\nd O\n")], scheme="BIO")
    assert str(caught.value).replace(f"{tmp_path}/", "") == (
        "2 of 3 tags are not of the scheme BIO: 'PER' in file.txt, line 2, 'LOC' in file.txt, line 3. Pass another --scheme"
    )
    many = "".join(f"w B-{i}\n" for i in range(20_000))
    begin = time.perf_counter()
    with pytest.raises(
        DataError, match=r"^there are 20,000 kinds of tags, such as 'B-0', 'B-1', 'B-2'; expected at most 3,000$"
    ):
        read_tagged([written(tmp_path, many)])
    assert time.perf_counter() - begin < 20


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (["科0", "技1", "A0"], "100 % end with a digit, such as '科0', '技1', 'A0'"),
        (["The/DT", "cat/NN", "sat/VBD"], "100 % end with a tag, such as 'The/DT', 'cat/NN', 'sat/VBD'"),
        (["\u2581The", "cat", "sat"], "33 % have the marks of subwords, such as '\u2581The'"),
        (["un", "##happy", "cat"], "33 % have the marks of subwords, such as '##happy'"),
        (["1", "2", "3"], "100 % are numbers, such as '1', '2', '3'"),
        (["The", "cat", "sat"], ""), (["高", "勇", "在"], ""), (["On", "3", "May"], ""),
    ],
)  # fmt: skip
def test_tokens_unlike_plain_text_are_told(tmp_path, tokens, told):
    data = read_tagged([written(tmp_path, ("".join(f"{token} B-X\n" for token in tokens) + "\n") * 5)])
    assert [note.startswith(f"the tokens look unlike plain text: {told}") for note in data.notes[1:]] == [True] * bool(
        told
    )


def test_a_token_without_end(tmp_path):
    with pytest.raises(DataError, match=r"c, line 2: a token has 50,000,000 characters; expected at most 10,000$"):
        read_tagged([written(tmp_path, "a O\n" + "x" * 50_000_000 + " B-X\n", "c")])


def test_conllu_and_columns_that_count(tmp_path):
    text = "# text = Die Katze\n1-2\tx\t_\t_\t_\t_\t_\t_\t_\t_\n" + "".join(
        f"{i}\t{word}\t_\t{tag}\t_\t_\t0\t_\t_\t_\n"
        for i, (word, tag) in enumerate([("Die", "DET"), ("Katze", "NOUN")], 1)
    )
    data = read_tagged([written(tmp_path, text)])
    assert (data.sentences, data.tags) == ([["Die", "Katze"]], [["DET", "NOUN"]])
    assert data.notes[1].endswith("CoNLL-U; tokens from column 2, tags from column 4, the universal part of speech")
    data = read_tagged([written(tmp_path, "1 EU B-ORG\n2 sat O\n\n1 Bob B-PER\n2 sat O\n")])
    assert data.sentences == [["EU", "sat"], ["Bob", "sat"]]
    assert data.notes[1].endswith("the first column counts the tokens, which are in the second")
    assert read_tagged([written(tmp_path, "1 B-X\n2 O\n")]).sentences == [["1", "2"]]


def test_tables_with_a_token_a_row(tmp_path):
    text = 'Sentence #,Word,POS,Tag\nSentence: 1,EU,NNP,B-org\n,sat,VBD,O\nSentence: 2,",",",",O\n'
    data = read_tagged([written(tmp_path, text, "ner.csv")])
    assert (data.sentences, data.tags) == ([["EU", "sat"], [","]], [["B-org", "O"], ["O"]])
    with pytest.raises(
        DataError,
        match=r"ner\.csv: which column has the tokens and which has the tags\? Pass --token and --tag with one of 'a', 'b'$",
    ):
        read_tagged([written(tmp_path, "a,b\nx,y\n", "ner.csv")])


def test_labeled_tables(tmp_path):
    comma = read_labeled([written(tmp_path, 'stars,review\nup,"good, fast"\ndown,late\ndown,\n')])
    assert comma.items == ["good, fast", "late"]
    assert comma.labels == [["up"], ["down"]]
    assert comma.notes == (
        "2 texts in column 'review', 2 classes in column 'stars'",
        "1 row without a text is left out",
    )
    tabs = read_labeled([written(tmp_path, 'sentence\tlabel\nsay "hi\t1\n')])
    assert tabs.items == ['say "hi']
    many = read_labeled([written(tmp_path, "body;topics\nx y;a|b\nz;\n")], text="body", label="topics", separator="|")
    assert (many.labels, many.is_multiple) == ([["a", "b"], []], True)
    rows = read_labeled([written(tmp_path, '{"text": "x", "label": 1}\n{"label": 2, "text": "y"}\n')])
    assert rows.labels == [["1"], ["2"]]


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("review,stars\ngood,up\n", {"label": "star"}, ["file.txt: has no column 'star'. Did you mean 'stars'?"]),
        ("review,a,b\ngood,up,1\n", {}, ["file.txt: which column is the label? Pass --label with one of 'review', 'a', 'b'"]),
        (
            "text,label\nx\ny,1,2\nz,\n", {},
            ["file.txt, line 2: has 1 column, the header 2", "file.txt, line 3: has 3 columns, the header 2",
             "file.txt, line 4, column 'label': is empty; expected a label"],
        ),
        ('text,label\n"x,1\n', {}, ["file.txt, line 2: unexpected end of data; is a quotation mark left open?"]),
        ("text,text\nx,1\n", {}, ["file.txt, line 1: the columns 1 and 2 are both named 'text'. Give each a name of its own, or pass --no-header to number them"]),
        ("text,label\n", {}, ["file.txt: holds no rows below the names of its columns"]),
        (b"text,label\ngut,1\nsch\xf6n,2\n", {},
         ["file.txt, line 3: byte 0xf6 is not utf-8. Pass --encoding with the right one (such as latin-1)"]),
    ],
)  # fmt: skip
def test_faults_of_labeled_tables(tmp_path, text, options, told):
    assert faults(lambda: read_labeled([written(tmp_path, text)], **options), tmp_path) == told


@pytest.mark.parametrize("mark", [";", "|", ",", "/", "+", "&"])
def test_a_label_that_is_others_together_is_told(tmp_path, mark):
    rows = [("a", "x"), ("b", "y"), ("c", f"x{mark} y"), ("d", f"x{mark}z")]
    told = f"column 'label': 'x{mark} y' is taken as one label; if it is several, pass --separator {mark!r}"
    path = written(tmp_path, "text,label\n" + "".join(f'{text},"{label}"\n' for text, label in rows))
    assert told in read_labeled([path]).notes
    frame = pd.DataFrame(rows, columns=["text", "label"])
    assert told in labeled_frame(frame, text=None, label=None, separator=None).notes
    several = (read_labeled([path], separator=mark), labeled_frame(frame, text=None, label=None, separator=mark))
    alone = written(tmp_path, f'text,label\na,x\nb,"x{mark}z"\n', "alone.csv")  # z stands nowhere by itself
    for found in (*several, read_labeled([alone])):
        assert not any("one label" in note for note in found.notes)


def test_many_faults_are_cut_short(tmp_path):
    found = faults(lambda: read_labeled([written(tmp_path, "text,label\n" + "x,\n" * 50)]), tmp_path)
    assert len(found) == 21
    assert found[-1] == "and 30 faults more"


def test_a_line_of_ten_million_characters(tmp_path):
    data = read_labeled([written(tmp_path, "text,label\n" + "word " * 2_000_000 + ",up\n")])
    assert len(data.items[0]) == 9_999_999


def test_a_stratified_split_keeps_shares():
    data = Labeled([str(i) for i in range(100)], [["a"]] * 80 + [["b"]] * 20)
    first, second = data.stratified(0.2, 0)
    assert (second.labels.count(["a"]), second.labels.count(["b"])) == (16, 4)
    assert sorted(first.items + second.items) == sorted(data.items)
    assert data.stratified(0.2, 0)[1].items == second.items != data.stratified(0.2, 1)[1].items


def folder(tmp_path, **files):
    path = tmp_path / "atis"
    path.mkdir()
    for name, text in files.items():
        (path / name.replace("_", ".")).write_text(text)
    return path


def test_intents(tmp_path):
    path = folder(tmp_path, seq_in="fly to rome\nhello\n", seq_out="O O B-city\nO\n", label="flight\ngreet\n")
    data = read_intents([path])
    assert data.intents == ["flight", "greet"]
    assert data.tagged.sentences[0] == ["fly", "to", "rome"]
    rows = '{"text": "to rome", "intent": "flight", "spans": [{"start": 3, "end": 7, "label": "city"}]}\n'
    assert read_intents([written(tmp_path, rows)]).tagged.tags == [["O", "S-city"]]


def test_faults_of_intents(tmp_path):
    path = folder(tmp_path, seq_in="a b\nc\n\n", seq_out="O\nO\nO\n", label="x\n\ny\n")
    assert faults(lambda: read_intents([path]), tmp_path) == [
        "atis, line 1: 2 tokens in seq.in and 1 tag in seq.out", "atis, line 2: label is empty", "atis, line 3: seq.in is empty",
    ]  # fmt: skip
    (path / "label").write_text("x\n")
    assert faults(lambda: read_intents([path]), tmp_path) == [
        "atis: its files have different numbers of lines (seq.in 3, seq.out 3, label 1); line i of each must be one sentence"
    ]
    (path / "label").unlink()
    assert faults(lambda: read_intents([path]), tmp_path) == [
        "atis: has no label; expected the files seq.in, seq.out, label."
    ]
    table = written(tmp_path, "text,intent\nto rome,flight\n", "commands.csv")
    assert faults(lambda: read_intents([table]), tmp_path) == [
        "commands.csv: which column has the tags? Pass --tag with one of 'text', 'intent'"
    ]
    lines = written(tmp_path, "text,intent\nto rome,flight\n", "commands.txt")
    assert faults(lambda: read_intents([lines]), tmp_path) == [
        "commands.txt: is neither a folder of seq.in, seq.out, label, nor a table, nor JSON lines, such as "
        '{"tokens": ["to", "rome"], "tags": ["O", "B-city"], "intent": "flight"}'
    ]


@given(st.text(max_size=200))
def test_any_file_is_read_or_refused(text):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "file"
        path.write_text(text, encoding="utf-8", errors="replace")
        for read in (read_tagged, read_labeled, read_intents, read_table):
            with contextlib.suppress(DataError):
                assert len(read([path]))


def test_tables_from_files_and_frames(tmp_path):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"day": ["2024-01-01", "2024-01-02"], "sales": [1.5, None]})
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_csv(tmp_path / "a.csv")
    tables = [read_table([tmp_path / "a.parquet"]), read_table([tmp_path / "a.csv"]), of_frame(frame)]
    assert all(table.columns == {"day": ["2024-01-01", "2024-01-02"], "sales": ["1.5", ""]} for table in tables)
    assert tables[2].places == ["the table, row 1", "the table, row 2"]
    with pytest.raises(DataError, match="is no data frame that can be read"):
        of_frame({"a": 1})
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(DataError, match=r"bad\.parquet: cannot be read as Parquet"):
        read_table([tmp_path / "bad.parquet"])


@given(
    rows=st.lists(st.lists(st.sampled_from(["a", "b b", "it's", 'c"d', "é"]), max_size=3), min_size=4, max_size=20),
    how=st.sampled_from(["json", "csv of JSON", "csv of Python"]),
)
@settings(max_examples=60, deadline=None)
def test_lists_of_labels_are_several_labels(rows, how):
    """As exports write them; each list as one label, in its quotes and brackets, would be a class of its own."""
    rows = [*rows, ["a"], ["a", "b b"]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("t.jsonl" if how == "json" else "t.csv")
        if how == "json":
            lines = [json.dumps({"text": f"t {i}", "label": row}) for i, row in enumerate(rows)]
        else:
            written = json.dumps if how == "csv of JSON" else str
            lines = [
                "text,label",
                *(f't {i},"{written(row).replace(chr(34), chr(34) * 2)}"' for i, row in enumerate(rows)),
            ]
        path.write_text("\n".join(lines), encoding="utf-8")
        found = read_labeled([path])
    assert found.labels == [sorted(set(row)) for row in rows]
    assert found.is_multiple
    assert "column 'label' holds lists: a text may have several labels" in found.notes


@pytest.mark.parametrize(
    ("one", "other"), [("Yes", "yes"), ("1", "1.0"), ("01", "1"), ("very  good", "very good"), ("ß", "ss")]
)
def test_labels_written_in_two_ways_are_told(tmp_path, one, other):
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"word {i},{[one, other, 'x'][i % 3]}\n" for i in range(12)), "utf-8")
    found = read_labeled([path])
    first, second = sorted([one, other])
    assert found.notes[-1] == (
        f"column 'label': {first!r} and {second!r} are taken as two classes; write them alike if they are one"
    )
    path.write_text(
        "text,label\n" + "".join(f"word {i},{['yes', 'no', '1', '2'][i % 4]}\n" for i in range(12)), "utf-8"
    )
    assert not any("alike" in note for note in read_labeled([path]).notes)
