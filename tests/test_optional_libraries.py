"""Libraries of some tasks: panics of those in Rust are errors, and standard error loses nothing else."""

import os

import pytest

from unrolled import optional_libraries
from unrolled.data.subwords import Subwords
from unrolled.errors import ModelFileError


class PanicException(BaseException):
    """As PyO3 makes one in each library of its own."""


def written_and_raised(text, fault):
    with optional_libraries.panics_as_errors():
        os.write(2, text)
        if fault is not None:
            raise fault


@pytest.mark.parametrize("fault", [ValueError("odd"), KeyboardInterrupt("odd"), OSError("odd")])
def test_other_faults_and_what_they_write_are_kept(capfd, fault):
    with pytest.raises(type(fault), match="odd") as caught:
        written_and_raised(b"a warning\n", fault)
    assert caught.value is fault
    assert capfd.readouterr().err == "a warning\n"


def test_what_is_written_without_a_fault_is_kept(capfd):
    written_and_raised(b"a warning\n", None)
    assert capfd.readouterr().err == "a warning\n"


def test_a_panic_is_an_error_without_its_trace(capfd):
    with pytest.raises(ValueError, match=r"^odd$"):
        written_and_raised(b"panicked\n", PanicException("odd"))
    with pytest.raises(ValueError, match=r"^the library has panicked$"):
        written_and_raised(b"panicked\n", PanicException())
    assert capfd.readouterr().err == ""


def test_standard_error_may_be_closed():
    kept = os.dup(2)
    os.close(2)
    try:
        with pytest.raises(ValueError, match="odd"), optional_libraries.panics_as_errors():
            raise PanicException("odd")
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def test_subwords_on_which_the_library_panics_are_told(capfd):
    data = Subwords.fit(["an old man and an old cat"] * 3, 30).to_data()
    data["model"]["continuing_subword_prefix"] = "longer than each subword"
    with pytest.raises(ModelFileError, match=r"^its subwords cannot be read: range end index"):
        Subwords.from_data(data)
    assert capfd.readouterr().err == ""
