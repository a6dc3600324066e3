"""Serves the page of a run while it is trained, to browsers on this machine alone.

Inputs: a run folder, which may not be there yet. Outputs: answers to GET: the page at "/", nothing else: no file of the
run or of the machine can be asked for.
"""

import errno
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from unrolled.errors import RunError, UnrolledError
from unrolled.pages import of_run
from unrolled.pages.source import source
from unrolled.report.html import elements
from unrolled.report.html.page import document, policy
from unrolled.training.run_folder import CHECKPOINT, LOG, MODEL, Run

HOST, FIRST_PORT, N_PORTS = "127.0.0.1", 8484, 20


class Server(ThreadingHTTPServer):
    """A server of one run's page.

    Args:
        folder: of the run; it may be made later.
        port: to listen at; 0 for any that is free.

    Raises:
        OSError: the port cannot be had.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._seen: tuple[object, ...] = ()
        self._page = b""
        super().__init__((HOST, port), _Answer)

    @property
    def address(self) -> str:
        """What a browser opens."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def page(self) -> bytes:
        """The page as it is now; made anew where the run has changed."""
        with self._lock:  # one at a time: it may load the model
            seen = self._state()
            if seen != self._seen or not self._page:
                self._page, self._seen = self._made().encode("utf-8"), seen
            return self._page

    def _state(self) -> tuple[object, ...]:
        """What tells whether the run has changed."""
        if not (self.folder / CHECKPOINT).is_file():
            return ()
        of_files = []
        for name in (LOG, MODEL):
            try:
                found = (self.folder / name).stat()
                of_files.append((found.st_mtime_ns, found.st_size))
            except OSError:
                of_files.append((0, 0))
        return Run(self.folder, {}).is_held(), *of_files

    def _made(self) -> str:
        if not (self.folder / CHECKPOINT).is_file():
            words = f"Waiting for the run {self.folder}: it is shown here as soon as its training begins."
            return document(
                str(self.folder), elements.paragraph(words, "verdict"), [], foot=of_run.foot(), is_watched=True
            )
        try:
            return of_run.page(source(self.folder), is_watched=True, is_checked=False)
        except (UnrolledError, OSError) as fault:  # such as a file that is just being replaced
            words = f"The run cannot be shown now: {fault}"
            return document(
                str(self.folder), elements.paragraph(words, "verdict"), [], foot=of_run.foot(), is_watched=True
            )


def listening(folder: Path, port: int | None) -> Server:
    """A server at a port; at the first free one from 8484 on if None.

    Raises:
        RunError: the port is taken, or may not be used; or the path is no run.
    """
    if folder.exists() and not (folder / CHECKPOINT).is_file():
        raise RunError(
            f"{folder}: no run to watch here; expected a folder with {CHECKPOINT}, or one that a training will make. "
            f"A model file is shown by: unrolled report {folder}"
        )
    for each in (port,) if port is not None else range(FIRST_PORT, FIRST_PORT + N_PORTS):
        try:
            return Server(folder, each)
        except OSError as fault:
            if fault.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            reason = "is in use" if fault.errno == errno.EADDRINUSE else "may not be used"
            if port is not None:
                raise RunError(
                    f"watch: port {port} {reason}. Take another --port, or none: a free one is found"
                ) from None
    raise RunError(f"watch: the ports {FIRST_PORT} to {FIRST_PORT + N_PORTS - 1} are in use. Give a free one: --port")


class _Answer(BaseHTTPRequestHandler):
    """Answers one browser."""

    server: Server
    server_version, sys_version = "unrolled", ""

    def do_GET(self) -> None:
        # a page of another host that got our address by its name server may not read this one
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
        if host not in (HOST, "localhost"):
            self._send(403, b"this page is for browsers on this machine", "text/plain")
        elif self.path.split("?")[0] != "/":
            self._send(404, b"there is one page here: /", "text/plain")
        else:
            self._send(200, self.server.page(), "text/html; charset=utf-8")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send(self, code: int, content: bytes, kind: str) -> None:
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        if code == 200 and self.headers.get("If-None-Match") == tag:
            code, content = 304, b""
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", tag)
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", f"{policy(is_watched=True)}; frame-ancestors 'none'")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is printed of requests."""
