"""Run folders: where a training keeps its checkpoint, its best model and its log.

runs/text-20260101-120000/
    checkpoint.safetensors   everything to go on from: weights, optimizer, random state, carried state, record
    model.safetensors        the best model so far, a file of its own, complete at any moment
    log.csv                  the record of evaluations, for the eye and for spreadsheets
    start.safetensors        the model that the training started from, if it did
    .lock                    who trains it; the lock ends with its process, however that ends
"""

import contextlib
import csv
import errno
import io
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from unrolled.engine.trees import Tree
from unrolled.errors import RunError
from unrolled.files import safetensors_tree, whole
from unrolled.files.bounds import lacks_memory
from unrolled.files.model_file import EvaluationRow
from unrolled.json_values import JsonObject
from unrolled.training import processes

try:
    import fcntl
except ImportError:  # Windows: nothing tells there that a run is resumed twice
    fcntl = None  # type: ignore[assignment]

VERSION = 1
CHECKPOINT, MODEL, LOG, LOCK = "checkpoint.safetensors", "model.safetensors", "log.csv", ".lock"


@dataclass
class Run:
    """One run folder.

    Attributes:
        folder: its path.
        config: what the run was started with, plain data that never changes.
        state: where the training stands, as the training loop wrote it; None before its first checkpoint.
    """

    folder: Path
    config: JsonObject
    state: Tree = None
    _is_held: bool = field(default=False, init=False, repr=False)

    @property
    def model_path(self) -> Path:
        """The best model so far."""
        return self.folder / MODEL

    @classmethod
    def create(
        cls, folder: Path | str, config: JsonObject, files: Mapping[str, Callable[[Path], None]] | None = None
    ) -> "Run":
        """Makes a new folder that holds a first checkpoint, aside and renamed: a run folder can always be resumed.

        Args:
            folder: where.
            config: plain data, with the task's name under "task".
            files: what else the run needs to be resumed: by file name, what writes it to a path.

        Raises:
            RunError: the folder exists, or cannot be made.
        """
        path = Path(folder)
        if os.path.lexists(path):
            raise RunError(
                f"{path}: exists already. Choose another folder, or go on with it: unrolled train --resume {path}"
            )
        aside = whole.name_aside(path)
        try:
            aside.mkdir(parents=True)
            cls(aside, config).write_state(None)
            for name, write in (files or {}).items():
                write(aside / name)
            os.rename(aside, path)
        except (OSError, RunError) as fault:
            reason = fault.strerror if isinstance(fault, OSError) else None
            raise RunError(f"{path}: cannot make the run folder: {reason or fault}") from fault
        finally:
            whole.remove(aside)
        return cls(path, config)

    @classmethod
    def open(cls, folder: Path | str) -> "Run":
        """A run folder made before.

        Raises:
            RunError: it is none, is damaged, or is of another version.
        """
        path = Path(folder) / CHECKPOINT
        if not os.path.isfile(path):  # Path's own method raises where a name is too long
            told = f"{folder}: no run to resume here; expected a folder with {CHECKPOINT}.{runs_beside(Path(folder))}"
            raise RunError(told)
        return cls(Path(folder), *_read(path))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within the block no other process trains this run. What a killed one left half written is removed.

        Raises:
            RunError: another process trains it.
        """
        if self._is_held or processes.rank() != 0:
            yield
            return
        with _locked(self.folder):
            for path in [self.folder, *(self.folder / name for name in (CHECKPOINT, MODEL, LOG))]:
                for part in whole.parts_of(path):
                    whole.remove(part)
            self.config, self.state = _read(self.folder / CHECKPOINT)  # another process may have gone on with it
            self._is_held = True
            try:
                yield
            finally:
                self._is_held = False

    def is_held(self) -> bool:
        """Whether a process trains this run now; false where the system has no locks."""
        with contextlib.suppress(OSError), open(self.folder / LOCK, encoding="utf-8") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back as the file is closed
                except OSError as fault:
                    return fault.errno in (errno.EWOULDBLOCK, errno.EACCES)
        return False

    @contextlib.contextmanager
    def restoring(self) -> Iterator[None]:
        """Within the block, what does not fit is a fault of the checkpoint.

        Raises:
            RunError: something did not fit.
        """
        try:
            yield
        except RunError:
            raise
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as fault:
            if lacks_memory(fault):
                raise
            shown = str(fault).strip().split("\n")[0][:200]
            path = self.folder / CHECKPOINT
            raise RunError(f"{path}: is damaged ({type(fault).__name__}: {shown}). Train anew") from fault

    def write_state(self, state: object) -> None:
        """Replaces the checkpoint."""
        tree = {"version": VERSION, "config": self.config, "state": state}
        path = self.folder / CHECKPOINT
        try:
            safetensors_tree.write_tree(path, tree)
        except OSError as fault:
            raise RunError(f"{path}: cannot be written: {fault.strerror or fault}") from fault

    def write_log(self, rows: list[EvaluationRow]) -> None:
        """Rewrites log.csv."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
        whole.write_aside(self.folder / LOG, lambda aside: aside.write_text(text.getvalue(), encoding="utf-8"))


def _read(path: Path) -> tuple[JsonObject, Tree]:
    """Configuration and state out of a checkpoint."""
    try:
        checkpoint = safetensors_tree.read_tree(path)
        if checkpoint["version"] != VERSION:
            raise RunError(
                f"{path}: version {checkpoint['version']}; this unrolled resumes version {VERSION}. "
                "Train anew, or install the version that made it."
            )
        config, state = checkpoint["config"], checkpoint["state"]
        if not isinstance(config, dict):
            raise TypeError(f"its configuration is a {type(config).__name__}")
        return config, state
    except (ValueError, TypeError, KeyError, OSError) as fault:
        raise RunError(f"{path}: cannot be read: {fault}") from fault


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a run folder, which the system takes back when the process ends."""
    if fcntl is None:
        yield
        return
    path = folder / LOCK
    try:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as fault:
        raise RunError(f"{path}: cannot be written: {fault.strerror or fault}") from fault
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            if fault.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise RunError(f"{folder}: {_who(path)} trains this run. Wait for it, or stop it") from None
            # some network drives have no locks: nothing tells there that a run is resumed twice
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


def _who(path: Path) -> str:
    """Who holds a lock, in words."""
    with contextlib.suppress(OSError, ValueError):
        return path.read_text(encoding="utf-8")[:200] or "another process"
    return "another process"


def runs_beside(folder: Path) -> str:
    """The last runs in the same folder, for a message; "" where there are none."""
    there: list[Path] = []
    with contextlib.suppress(OSError):
        there = sorted(each.parent for each in folder.parent.glob(f"*/{CHECKPOINT}"))[-3:]
    return f" Runs beside it: {', '.join(map(str, there))}." if there else ""


def free_folder(task: str) -> Path:
    """A folder under runs/ that does not exist yet, named after the task and the time."""
    path = Path("runs") / f"{task}-{datetime.now():%Y%m%d-%H%M%S}"
    tries = [path, *(path.with_name(f"{path.name}-{i}") for i in range(2, 100))]
    return next((each for each in tries if not each.exists()), path)
