"""`unrolled stream`.

Inputs: raw samples. Outputs: text, while samples arrive.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from unrolled.cli.models import answering, standard_input
from unrolled.cli.options import PATH
from unrolled.errors import DataError
from unrolled.files.bounds import reading
from unrolled.tasks.capabilities import Streams, has

_SAMPLES = {"s16le": "<i2", "f32le": "<f4"}


@click.command("stream", short_help="What a transcriber hears, as sound comes in.")
@click.argument("model", type=PATH)
@click.option("--rate", type=click.IntRange(1000, 384_000), help="samples a second of the input  [the model's]")
@click.option(
    "--format", "form", type=click.Choice(list(_SAMPLES)), default="s16le", show_default=True, help="of samples"
)
@click.option("--chunk-ms", type=click.IntRange(1), default=100, show_default=True, help="read at once at most")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda ...")
def stream(model: Path, rate: int | None, form: str, chunk_ms: int, device: str) -> None:
    """What a transcriber hears in raw mono samples on standard input, while they come in.

    Each line of standard output is the text so far, as soon as it has changed, after the second of sound it was heard
    at; the last one is the whole. How fast it was goes to standard error.

    \b
    arecord -q -f S16_LE -r 16000 -t raw | unrolled stream MODEL --rate 16000
    sox call.wav -t raw -e signed -b 16 -c 1 - | unrolled stream MODEL --rate 8000
    """
    loaded = answering(model, device)
    if not isinstance(loaded, Streams):
        raise click.UsageError(f"stream takes {has('stream')}; {model} is a model of the task {loaded.task!r}")
    heard = loaded.stream(rate)
    width = 2 if form == "s16le" else 4
    size, rest, shown = width * max(1, heard.rate * chunk_ms // 1000), b"", ""
    source: Any = standard_input()
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends the sound, not the answer
        while chunk := _read(source, size):
            rest += chunk
            whole = len(rest) // width * width
            text = heard.accept(np.frombuffer(rest[:whole], _SAMPLES[form]))
            rest = rest[whole:]
            if text != shown:
                click.echo(f"{heard.seconds:8.2f}  {text}")
                sys.stdout.flush()
                shown = text
    if not heard.seconds:
        raise DataError("standard input: holds no samples")
    click.echo(f"{heard.seconds:8.2f}  {heard.finish().text}")
    click.echo(
        f"{heard.seconds:.2f} s of sound in {heard.busy_s:.2f} s: real-time factor {heard.busy_s / heard.seconds:.3f}",
        err=True,
    )


def _read(source: Any, size: int) -> bytes:
    with reading("standard input"):
        return source.read1(size)
