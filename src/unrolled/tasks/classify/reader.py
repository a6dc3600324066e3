"""Items with their classes, out of what a user gave.

Inputs: files, a frame, or items and labels in memory. Outputs: `Labeled`. A file of its own: it needs settings alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unrolled.data.in_memory import is_frame
from unrolled.data.labeled import Labeled, labeled_frame, labeled_in_memory, read_labeled
from unrolled.data.table import Learnt, Table, of_frame, read_table
from unrolled.data.windows_of_table import read_windows
from unrolled.errors import DataError
from unrolled.tasks.classify.settings import ClassifySettings
from unrolled.tasks.estimator import Files, are_files, paths_of


@dataclass(frozen=True)
class LabeledReader:
    """Reads as the settings say, and where they leave it open as the data were read that a model learnt from."""

    settings: ClassifySettings
    learnt: Learnt = field(default_factory=dict)

    def files(self, files: Files) -> Labeled:
        """Texts or windows in files."""
        paths = paths_of(files)
        settings = self.settings
        if settings.values:
            return self.windows(paths, settings.label or "label")
        return read_labeled(
            paths,
            text=settings.text,
            label=settings.label,
            separator=settings.separator,
            encoding=settings.encoding,
            header=settings.header,
            learnt=self.learnt,
        )

    def windows(self, paths: Sequence[Path | str], label: str | None) -> Labeled:
        """Windows in files; without classes if there is no column of labels."""
        settings = self.settings
        return self._of_table(read_table(paths, encoding=settings.encoding, header=settings.header), label)

    def _of_table(self, table: Table, label: str | None) -> Labeled:
        names, series = self.settings.window_columns()
        decimal = self.settings.decimal or ""
        return read_windows(table, values=names, series=series, label=label, decimal=decimal, learnt=self.learnt)

    def paired(self, items: object, labels: object) -> Labeled:
        """Items in memory and their labels."""
        return labeled_in_memory(items, labels, text=self.settings.text)

    def data(self, data: Any) -> Labeled:
        """From files; a frame; or pairs of an item and its label or labels.

        Raises:
            DataError: it is none of these, or cannot be used.
        """
        settings = self.settings
        if isinstance(data, Labeled):
            return data
        if is_frame(data) and settings.values:
            return self._of_table(of_frame(data), settings.label or "label")
        if is_frame(data):
            return labeled_frame(
                data, text=settings.text, label=settings.label, separator=settings.separator, learnt=self.learnt
            )
        if isinstance(data, list | tuple) and data and isinstance(data[0], list | tuple):
            return self.paired([item for item, _ in data], [label for _, label in data])
        if not are_files(data):
            raise DataError("a classifier requires y to be passed, but the target y is None: give the labels too")
        return self.files(data)
