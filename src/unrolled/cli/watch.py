"""`unrolled watch`: a run that goes on, in the browser."""

from pathlib import Path

import click

from unrolled.cli.options import PATH
from unrolled.pages.server import FIRST_PORT, listening
from unrolled.training.interrupts import Terminated
from unrolled.training.run_folder import runs_beside


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
        if not run.exists():
            click.echo(f"{run}: is not there yet; waiting for a training that makes it.{runs_beside(run)}")
        server.serve_forever(poll_interval=0.2)
    except Terminated:
        raise
    except KeyboardInterrupt:  # how one leaves it, and no fault
        pass
    finally:
        server.server_close()
