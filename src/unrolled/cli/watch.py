"""`unrolled watch`: a run that goes on, in the browser."""

from pathlib import Path

import click

from unrolled.cli.options import PATH
from unrolled.pages.server import FIRST_PORT, listening
from unrolled.training.interrupts import Terminated


@click.command("watch", short_help="A run that goes on, in the browser.")
@click.argument("run", type=PATH)
@click.option(
    "--port", type=click.IntRange(0, 65535), help=f"to listen at; 0: any  [the first free one from {FIRST_PORT} on]"
)
def watch(run: Path, port: int | None) -> None:
    """Show a run in the browser while it is trained: its learning curves beside the baseline, as its log grows, and
    the report once it has ended.

    RUN is the folder of a run; it may be one that a training will make. Browsers on this machine alone can see it.
    Ctrl-C ends it; the training goes on.
    """
    server = listening(run, port)
    try:
        click.echo(f"{server.address}  (Ctrl-C ends it)")
        server.serve_forever(poll_interval=0.2)
    except Terminated:
        raise
    except KeyboardInterrupt:  # how one leaves it, and no fault
        pass
    finally:
        server.server_close()
