"""The command `unrolled`. A package of its own, as any part of `unrolled` loads torch, which takes seconds."""

from unrolled_command import ending_signals


def main() -> None:
    """Runs the command line; a signal that ends the process is told in one line from here on."""
    ending_signals.end_the_process()
    from unrolled_command import command  # later, as Ctrl-C amid an import is told by what stands above

    command.main()
