"""Answers as text, JSON lines or CSV."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from unrolled.errors import DataError
from unrolled.files.safetensors_tree import write_aside
from unrolled.tasks.capabilities import Answer

FORMATS = ("text", "jsonl", "csv")


def write(results: Iterable[Answer], form: str, out: Path | None) -> None:
    """Writes answers to a file, whole or not at all, or to standard output."""
    lines = _written(results, form)
    if out is None:
        for line in lines:
            click.echo(line)
        return

    def fill(aside: Path) -> None:
        with open(aside, "w", encoding="utf-8", newline="") as file:
            file.writelines(f"{line}\n" for line in lines)

    try:
        write_aside(out, fill)
    except OSError as fault:
        raise DataError(f"{out}: cannot be written: {fault.strerror or fault}") from fault


def _written(results: Iterable[Answer], form: str) -> Iterator[str]:
    head: list[str] = []
    for result in results:
        if form == "text":
            yield str(result)
        elif form == "jsonl":
            yield json.dumps(result.to_dict(), ensure_ascii=False)
        else:
            for row in result.rows():
                if not head:
                    head = list(row)
                    yield _csv_line(head)
                yield _csv_line([row[name] for name in head])


def _csv_line(values: list[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()
