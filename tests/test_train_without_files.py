"""`unrolled train text` without a file."""

from unrolled.data.corpus import Corpus
from unrolled.tasks.text.model import TextModel


def test_it_learns_from_the_standard_library(call, monkeypatch, tmp_path):
    text, asked = "def f(x):\n    return x\n" * 100, []

    def read(self, files):
        asked.append(files)
        return Corpus(text, text.encode(), (), "utf-8", "0" * 64)

    monkeypatch.setattr(TextModel, "read", read)
    monkeypatch.chdir(tmp_path)
    options = ("--steps", "1", "--hidden", "8", "--layers", "1", "--folder", "run")
    code, out, err = call("train", "text", *options)
    assert (code, asked) == (0, [None]), err
    assert "baseline" in out
