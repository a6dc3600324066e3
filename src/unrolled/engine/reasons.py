"""Why a scan runs eagerly."""

#: whether an error inside a pass raises, as in the tests, where it is a bug to be found; else the step runs eagerly
is_strict = False

#: of a step that is another one for another number of rows
ROWS_MATTER = "what it does depends on the number of rows of the batch"


class NotTraceable(Exception):  # noqa: N818 - a fact within the engine, never shown by itself
    """Why a step cannot become a graph, in words for the user."""


class RunsEagerly(Exception):  # noqa: N818 - no fault of the step
    """Why this call runs eagerly although the step has nothing against it; not worth a warning."""
