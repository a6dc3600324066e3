"""Answers as text, JSON lines or CSV."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from unrolled.errors import DataError
from unrolled.files import whole
from unrolled.tasks import capabilities
from unrolled.tasks.capabilities import Answer

FORMATS = ("text", "jsonl", "csv")


def write(
    results: Iterable[tuple[Answer, dict[str, str]]], form: str, out: Path | None, *, has_text: bool = True
) -> None:
    """Writes answers, each with the columns that stand beside its item, to a file, whole or not at all, or to standard
    output. Without `has_text` they have nothing more to say of the items than what stands beside them.
    """
    write_lines(_written(results, form, has_text=has_text), out)


def write_lines(lines: Iterable[str], out: Path | None) -> None:
    """Writes lines to a file, whole or not at all, or to standard output; through to a device or a pipe.

    Raises:
        DataError: the file cannot be written.
    """
    if out is None:
        for line in lines:
            click.echo(line)
        return

    try:
        with whole.opened(out) as file:
            for line in lines:
                file.write(f"{line}\n".encode("utf-8", "backslashreplace"))
    except OSError as fault:
        raise DataError(f"{out}: cannot be written: {fault.strerror or fault}") from fault


def _written(results: Iterable[tuple[Answer, dict[str, str]]], form: str, *, has_text: bool) -> Iterator[str]:
    head: list[str] = []
    for number, (result, beside) in enumerate(results, 1):
        if form == "text":
            yield str(result)
        elif form == "jsonl":
            yield json.dumps(_merged(beside, result.to_dict(), has_text=has_text), ensure_ascii=False)
        else:
            options = {"sentence": number} if capabilities.takes(type(result), "rows", "sentence") else {}
            for row in result.rows(**options):
                merged = _merged(beside, row, has_text=has_text)
                if not head:
                    head = list(merged)
                    yield csv_line(head)
                if list(merged) != head:
                    raise DataError(f"item {number}: has other columns than those before; predict one file at a time")
                yield csv_line(list(merged.values()))


def _merged(beside: dict[str, str], answer: dict[str, object], *, has_text: bool) -> dict[str, object]:
    """The columns beside an item, then the answer's: without the text again, and apart where names are the same."""
    merged: dict[str, object] = dict(beside)
    text = str(answer.get("text", "")).strip()
    for name, value in answer.items():
        if name == "text" and (not has_text or any(each.strip() == text for each in beside.values())):
            continue
        merged[f"{name} (predicted)" if name in beside else name] = value
    return merged


def csv_line(values: list[Any]) -> str:
    """A line of CSV, without its end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(values)  # it puts what has one of these characters into quotes
    return line.getvalue().removesuffix("\r\n")
