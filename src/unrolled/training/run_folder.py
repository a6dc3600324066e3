"""Run folders: where a training keeps its checkpoint, its best model and its log.

runs/text-20260101-120000/
    checkpoint.safetensors   everything to go on from: weights, optimizer, random state, carried state, record
    model.safetensors        the best model so far, a file of its own, complete at any moment
    log.csv                  the record of evaluations, for the eye and for spreadsheets
"""

import csv
import io
import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from unrolled.errors import RunError
from unrolled.files import safetensors_tree

VERSION = 1
CHECKPOINT, MODEL, LOG = "checkpoint.safetensors", "model.safetensors", "log.csv"


@dataclass
class Run:
    """One run folder.

    Attributes:
        folder: its path.
        config: what the run was started with, plain data that never changes.
        state: where the training stands, as the training loop wrote it; None before its first checkpoint.
    """

    folder: Path
    config: dict[str, Any]
    state: Any = None

    @property
    def model_path(self) -> Path:
        """The best model so far."""
        return self.folder / MODEL

    @classmethod
    def create(cls, folder: Path | str, config: dict[str, Any]) -> "Run":
        """Makes a new folder that holds a first checkpoint, aside and renamed: a run folder can always be resumed.

        Args:
            folder: where.
            config: plain data, with the task's name under "task".

        Raises:
            RunError: the folder exists, or cannot be made.
        """
        path = Path(folder)
        if path.exists():
            raise RunError(
                f"{path}: exists already. Choose another folder, or go on with it: unrolled train --resume {path}"
            )
        aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            aside.mkdir(parents=True)
            cls(aside, config).write_state(None)
            os.rename(aside, path)
        except (OSError, RunError) as fault:
            reason = fault.strerror if isinstance(fault, OSError) else None
            raise RunError(f"{path}: cannot make the run folder: {reason or fault}") from fault
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return cls(path, config)

    @classmethod
    def open(cls, folder: Path | str) -> "Run":
        """A run folder made before.

        Raises:
            RunError: it is none, is damaged, or is of another version.
        """
        path = Path(folder) / CHECKPOINT
        if not path.is_file():
            there = sorted(each.parent for each in Path(folder).parent.glob(f"*/{CHECKPOINT}"))[-3:]
            hint = f" Runs beside it: {', '.join(map(str, there))}." if there else ""
            raise RunError(f"{folder}: no run to resume here; expected a folder with {CHECKPOINT}.{hint}")
        try:
            checkpoint = safetensors_tree.read_tree(path)
            if checkpoint["version"] != VERSION:
                raise RunError(
                    f"{path}: version {checkpoint['version']}; this unrolled resumes version {VERSION}. "
                    "Train anew, or install the version that made it."
                )
            return cls(Path(folder), checkpoint["config"], checkpoint["state"])
        except (ValueError, TypeError, KeyError, OSError) as fault:
            raise RunError(f"{path}: cannot be read: {fault}") from fault

    def write_state(self, state: Any) -> None:
        """Replaces the checkpoint."""
        tree = {"version": VERSION, "config": self.config, "state": state}
        path = self.folder / CHECKPOINT
        try:
            safetensors_tree.write_tree(path, tree)
        except OSError as fault:
            raise RunError(f"{path}: cannot be written: {fault.strerror or fault}") from fault

    def write_log(self, rows: list[dict[str, Any]]) -> None:
        """Rewrites log.csv."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
        safetensors_tree.write_aside(
            self.folder / LOG, lambda aside: aside.write_text(text.getvalue(), encoding="utf-8")
        )


def free_folder(task: str) -> Path:
    """A folder under runs/ that does not exist yet, named after the task and the time."""
    path = Path("runs") / f"{task}-{datetime.now():%Y%m%d-%H%M%S}"
    tries = [path, *(path.with_name(f"{path.name}-{i}") for i in range(2, 100))]
    return next((each for each in tries if not each.exists()), path)
