"""The plans that this process knows."""

from unrolled.engine.cache import memory


def forget_plans() -> None:
    """The next call of each step makes its plan anew, or reads it from the disk."""
    memory.forget()
