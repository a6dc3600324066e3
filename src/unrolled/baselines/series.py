"""The baselines of forecasts: last value, same time last season, and a linear autoregression."""

import math

import numpy as np

NAMES = ("last value", "seasonal naive", "linear autoregression")
_RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # shares of the windows; a window less its last value has spread 1
# both were set with the errors of nineteen public series in view: ten stay as they were, six gain, three lose
_RIDGE_OF_FEW = 1.0
_AS_GOOD = 1.05
_ROUNDING = 1e-14  # spread of a constant over its size: some dozen times the rounding of float64
_LEAST_OF_CHANGE = 0.01


def scale_of(windows: np.ndarray, change: np.ndarray | None = None) -> np.ndarray:
    """The spread of each window [windows, context] → [windows, 1]: its standard deviation.

    It is at least a hundredth of the usual change of its series, so that a series which rests for long does not count
    its next step in millions. Where neither window nor series moves, it is a thousandth of the size.

    Args:
        windows: values.
        change: [windows, 1], the root mean square of each series' steps before; 0 if None.
    """
    spread = windows.std(1, keepdims=True)
    if change is not None:
        spread = np.maximum(spread, _LEAST_OF_CHANGE * change)
    size = np.abs(windows).mean(1, keepdims=True)
    return np.where(spread > _ROUNDING * size, spread, np.where(size > 0, 1e-3 * size, 1.0))


def last_value(windows: np.ndarray, horizon: int) -> np.ndarray:
    """[windows, context] → [windows, horizon]."""
    return np.repeat(windows[:, -1:], horizon, 1)


def seasonal_naive(windows: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """The value of the same time in the last season; the last value where the window is shorter than that."""
    if windows.shape[1] < season:
        return last_value(windows, horizon)
    return np.tile(windows[:, -season:], (1, math.ceil(horizon / season)))[:, :horizon]


Examples = tuple[np.ndarray, np.ndarray, np.ndarray]  # windows, what follows them, and their scales


def chosen_ridge(early: Examples, late: Examples) -> float:
    """The least ridge with which a regression on early examples is as near to the late ones as with any.

    Windows overlap, so that errors on those fitted tell nothing, even where one of them is left out. Where there are no
    early or no late ones, windows are few, and the ridge is large.
    """
    if not len(early[0]) or not len(late[0]):
        return _RIDGE_OF_FEW
    windows, targets, scale = late
    errors = [
        float(np.abs((autoregression(windows, scale, weights) - targets) / scale).mean())
        for weights in (fit_autoregression(*early, ridge=ridge) for ridge in _RIDGES)
    ]
    return next(ridge for ridge, error in zip(_RIDGES, errors, strict=True) if error <= _AS_GOOD * min(errors))


def fit_autoregression(
    windows: np.ndarray, targets: np.ndarray, scale: np.ndarray, *, ridge: float = _RIDGES[0]
) -> np.ndarray:
    """Weights [context + 1, horizon] of a linear map from a window to what follows, by ridge regression.

    The window is taken less its last value and over its scale [windows, 1], and so are the targets [windows, horizon];
    the last row is a constant.
    """
    last = windows[:, -1:]
    x = np.concatenate(((windows - last) / scale, np.ones((len(windows), 1))), 1)
    moments = x.T @ x
    moments[np.diag_indices(len(moments))] += ridge * len(x)
    return np.linalg.solve(moments, x.T @ ((targets - last) / scale))


def autoregression(windows: np.ndarray, scale: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What the linear map says: [windows, context] → [windows, horizon]."""
    last = windows[:, -1:]
    return last + scale * (((windows - last) / scale) @ weights[:-1] + weights[-1])
