"""The plans that this process knows."""

from unrolled.engine import choose, watch


def forget_plans() -> None:
    """The next call of each step makes its plan anew, or reads it from the disk."""
    choose._plans.clear()
    watch._remembered.clear()
