"""A bare assertion that fails, in a file whose assertions pytest does not write anew."""


def asserted(n_units: int) -> None:
    """No cell of the tests has so many units."""
    assert n_units == 99
