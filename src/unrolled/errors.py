"""Every error the library raises on purpose, as one tree.

    UnrolledError
    ├── ArgumentError         (TypeError)           an argument is of another type than expected
    ├── ShapeError            (ValueError)          an argument's shape, dtype or structure does not fit
    ├── StepError             (ValueError)          what a step returned does not fit what it was given
    ├── NotFusedError         (RuntimeError)        engine="fused" was asked for and cannot be had
    ├── ProbeError            (RuntimeError)        a probe cannot look into what runs
    ├── SettingsError         (ValueError)          a setting is out of its range, or two contradict each other
    ├── DataError             (ValueError)          a user's file cannot be used as it is
    ├── ModelFileError        (ValueError)          a model file is damaged, foreign or too new
    ├── RunError              (RuntimeError)        a run folder cannot be made, found or continued
    ├── DivergedError         (FloatingPointError)  the loss became NaN or infinite
    └── MissingExtraError     (ImportError)         an optional dependency is not installed

A text says where, what was given, what was expected and what to do. A command prints it and exits with 2.
"""


class UnrolledError(Exception):
    """Base of all errors below; catch it to catch them all."""


class ArgumentError(UnrolledError, TypeError):
    """An argument is of another type than expected."""


class ShapeError(UnrolledError, ValueError):
    """An argument's shape, dtype or structure does not fit."""


class StepError(UnrolledError, ValueError):
    """What a step returned does not fit what it was given."""


class NotFusedError(UnrolledError, RuntimeError):
    """engine="fused" was asked for and cannot be had."""


class NotFusedWarning(UserWarning):
    """A step that was not asked to runs eagerly."""


class ProbeError(UnrolledError, RuntimeError):
    """A probe cannot look into what runs."""


class SettingsError(UnrolledError, ValueError):
    """A setting is out of its range, or two contradict each other."""


class DataError(UnrolledError, ValueError):
    """A user's file cannot be used as it is."""


class ModelFileError(UnrolledError, ValueError):
    """A model file is damaged, foreign or too new."""


class RunError(UnrolledError, RuntimeError):
    """A run folder cannot be made, found or continued."""


class DivergedError(UnrolledError, FloatingPointError):
    """The loss became NaN or infinite."""


class MissingExtraError(UnrolledError, ImportError):
    """An optional dependency is not installed."""
