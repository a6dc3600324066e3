"""What `python -m unrolled` does before torch is loaded: it imports `unrolled`, and so this, before it runs anything.

Inputs: the words of the command line that Python itself got. Outputs: a kept text or a fault, after which the process
ends; of any other command line nothing.
"""

import gc
import sys

from unrolled_command import ending_signals


def is_run_now() -> bool:
    """Whether Python is about to run `-m unrolled`: its words are there, and the module's own name is not yet."""
    words = sys.argv[1:]
    return sys.argv[:1] == ["-m"] and sys.orig_argv[: len(sys.orig_argv) - len(words)][-2:] == ["-m", "unrolled"]


if is_run_now():
    ending_signals.end_the_process()
    from unrolled_command.command import before_torch

    before_torch(sys.argv[1:])
    gc.disable()  # until `command.main`
