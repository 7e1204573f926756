"""The times of an experiment that are saved."""

import numpy as np

from . import schema
from .document import Document

_POINTS = 101
_MOST_SAMPLES = 10_000_000
# Closer than this part of the whole run, a reference time is a saved one.
_SAME = 1e-12


def saved_times(experiment: schema.Experiment, document: Document) -> np.ndarray:
    """The times that are saved, with those of reference values. Raises `InputError`."""
    times = experiment.times
    begin = 0.0 if times is None or times.begin is None else times.begin
    discrete = experiment.calculus.name == "discrete"
    if times is not None and times.at is not None:
        found = times.at
        steps = np.diff(found)
        if not (np.all(steps > 0) or np.all(steps < 0)):
            raise document.fault(("times", "at"), "expected times that increase, or decrease")
        path = ("times", "at")
    elif times is None or times.until is None:
        found, path = np.array([begin]), ("times",)
    else:
        path = ("times", "until")
        whole = int(abs(times.until - begin)) + 1 if discrete else _POINTS
        if whole > schema.MOST_TIMES and times.points is None:
            raise document.fault(path, f"that is more than {schema.MOST_TIMES:,} samples")
        found = np.linspace(begin, times.until, times.points or whole)
        if not np.all(np.isfinite(found)) or np.any(np.diff(found) == 0):
            raise document.fault(path, "the times are too close together, or too far apart")
    found = _with_references(found, experiment, document)
    if discrete and np.any(found != np.round(found)):
        raise document.fault(path, "expected whole numbers: under discrete, times count samples")
    _check_work(found, experiment, document)
    return found


def nearest(ts: np.ndarray, at: np.ndarray) -> np.ndarray:
    """For each of some times which of `ts` it is; -1 where it is none."""
    places = np.abs(ts[:, None] - at).argmin(axis=0)
    span = max(float(np.ptp(ts)), float(np.max(np.abs(ts))))
    return np.where(np.abs(ts[places] - at) <= _SAME * span, places, -1)


def _with_references(
    ts: np.ndarray, experiment: schema.Experiment, document: Document
) -> np.ndarray:
    """The times with those of reference values among them."""
    down = len(ts) > 1 and ts[-1] < ts[0]
    for one in experiment.expected:
        at = getattr(one, "at", None)
        if at is None:
            continue
        low, high = np.min(ts), np.max(ts)
        slack = _SAME * (high - low)
        if np.min(at) < low - slack or np.max(at) > high + slack:
            raise document.fault((*one.path, "at"), f"expected times from {low:g} to {high:g}")
        ts = np.sort(np.concatenate([ts, at[nearest(ts, at) < 0]]))
        ts = ts[np.append(True, np.diff(ts) > slack)]
    return ts[::-1] if down and ts[-1] > ts[0] else ts


def _check_work(ts: np.ndarray, experiment: schema.Experiment, document: Document) -> None:
    """Raises for runs that would take hours, or more memory than there is."""
    options = experiment.calculus
    if options.name == "discrete" and np.ptp(ts) > _MOST_SAMPLES:
        raise document.fault(("times",), f"that is more than {_MOST_SAMPLES:,} samples")
    if options.name != "stochastic":
        return
    if options.steps is not None:
        steps = options.steps * (len(ts) - 1)
    else:
        steps = float(np.ptp(ts)) / (options.dt or np.inf)
    if steps * options.paths > 1e9:
        what = f"{options.paths:,} paths of {steps:,.0f} steps are more than a billion"
        raise document.fault(("calculus",), f"{what} steps: take fewer")
    if options.paths * len(ts) > 2e7:
        what = f"{options.paths:,} paths at {len(ts):,} times"
        raise document.fault(("calculus",), f"{what} are more than 20 million numbers: take fewer")
