"""Results beside what was expected."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ...circuits.parameters import parameters
from ...errors import CircuitError
from . import schema
from .document import Path
from .results import EnsembleResult, Result, RunResult, SeriesResult
from .times import nearest


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An expectation, the largest error, and the one that is allowed.

    - `unit`: what both are counted in, where that is not the unit of the value.
    - `time`: when the error is largest, of what is compared at several times.
    - `count`: what was counted, where a count is compared.
    """

    what: str
    error: float
    allowed: float
    unit: str = ""
    time: float | None = None
    count: int | None = None

    @property
    def met(self) -> bool:
        return self.error <= self.allowed and math.isfinite(self.error)


def compare(result: Result) -> list[Comparison]:
    """All expectations of an experiment. Raises `InputError` for values of another shape."""
    comparisons = []
    for one in result.model.experiment.expected:
        try:
            comparisons += _compared(result, one)
        except CircuitError as error:
            raise result.model.document.fault(one.path, str(error)) from None
    return comparisons


def _compared(result: Result, one: Any) -> Iterator[Comparison]:
    match one, result:
        case schema.ExpectedParameter(), _:
            yield _parameter(result, one)
        case schema.ExpectedEvent(), RunResult():
            yield from _event(result, one)
        case schema.ExpectedOutput(), RunResult():
            yield _output(result, one)
        case schema.ExpectedOutput(), EnsembleResult():
            yield _statistic(result, one)
        case schema.ExpectedSeries(), SeriesResult():
            yield _series(result, one)


def _parameter(result: Result, one: schema.ExpectedParameter) -> Comparison:
    got = np.asarray(parameters(result.circuit)[one.parameter])
    return _difference(result, one, f"{one.parameter} = {one.value:g}", got, one.value)


def _event(result: RunResult, one: schema.ExpectedEvent) -> Iterator[Comparison]:
    seen = result.run.events[one.event]
    if one.count is not None:
        error = float(abs(int(seen.count) - one.count))
        what = f"{one.event} happens {times(one.count)}"
        yield Comparison(what, error, 0.0, count=int(seen.count))
    if one.times:
        numbers = result.model.numbers(result.circuit)
        want = []
        for index, time in enumerate(one.times):
            path = (*one.path, "times", index)
            is_text = isinstance(time, str)
            want.append(float(result.model.formulas[path](numbers)) if is_text else time)
        got = np.asarray(seen.times)[: len(want)]
        got = np.append(got, np.full(len(want) - len(got), np.nan))
        yield _difference(result, one, f"times of {one.event}", got, np.array(want))


def _output(result: RunResult, one: schema.ExpectedOutput) -> Comparison:
    values, ts = result.values(one.output), np.asarray(result.run.ts)
    places, want, what = _wanted(result, one)
    if one.formula is not None:
        # A closed form holds up to the event that ends the run.
        seen = result.seen()
        return _difference(result, one, what, values[seen], want[seen], ts[seen])
    return _difference(result, one, what, values[places], want, ts[places])


def _statistic(result: EnsembleResult, one: schema.ExpectedOutput) -> Comparison:
    """A mean or a variance, with the error counted in its own standard errors."""
    paths = result.paths(one.output)
    places, want, what = _wanted(result, one)
    paths = paths[:, places]
    count = len(paths)
    away = paths - np.mean(paths, axis=0)
    variance = np.sum(np.abs(away) ** 2, axis=0) / (count - 1)
    if one.statistic == "mean":
        got, spread = np.mean(paths, axis=0), np.sqrt(variance / count)
    else:
        fourth = np.mean(np.abs(away) ** 4, axis=0)
        got, spread = variance, np.sqrt(np.maximum(fourth - variance**2, 0) / count)
    # What rounding does, where all paths are one.
    slack = one.atol + one.rtol * _largest(want)
    over = np.maximum(np.abs(got - _fitting(result, one, want, got)) - slack, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(over == 0, 0.0, over / spread)
    what = f"{one.statistic} of {what}"
    time = _time_of_largest(errors, np.asarray(result.run.ts)[places])
    return Comparison(what, _largest(errors), one.errors, "standard errors", time)


def _series(result: SeriesResult, one: schema.ExpectedSeries) -> Comparison:
    stream = result.stream(one.output)
    if one.coefficients is not None:
        got, want, name = stream.coefficients, one.coefficients, "coefficients"
    else:
        got, want, name = stream.derivatives(), one.derivatives, "derivatives"
    return _difference(result, one, f"{name} of {one.output}", np.asarray(got), want)


def _wanted(result: Any, one: schema.ExpectedOutput) -> tuple[Any, Any, str]:
    """Which times are compared, the values wanted there, and how that is said."""
    model, ts = result.model, np.asarray(result.run.ts)
    if one.formula is not None:
        formula = model.formulas[(*one.path, "formula")]
        numbers = model.numbers(result.circuit)
        want = jax.vmap(lambda t: formula({**numbers, model.time: t}) + 0 * t)(ts)
        return slice(None), np.asarray(want), f"{one.output} = {formula}"
    if one.at is not None:
        places = nearest(ts, one.at)
        if np.any(places < 0):
            raise model.document.fault((*one.path, "at"), "expected times of the run")
        return places, one.values, f"{one.output} at {len(one.at)} given times"
    return slice(None), one.values, f"{one.output} at all times"


def _difference(
    result: Result, one: schema.Expectation, what: str, got: Any, want: Any, ts: Any = None
) -> Comparison:
    """`ts` are the times of the values, where they have some."""
    got = np.asarray(got)
    want = _fitting(result, one, want, got)
    time = None if ts is None else _time_of_largest(got - want, ts)
    return Comparison(what, _largest(got - want), one.atol + one.rtol * _largest(want), time=time)


def _time_of_largest(errors: np.ndarray, ts: np.ndarray) -> float | None:
    """When the largest of the errors `[times, *value]` is; the first that is no number is."""
    sizes = np.abs(errors).reshape(len(ts), -1)
    return float(ts[np.argmax(np.max(sizes, axis=1))]) if sizes.size else None


def _fitting(result: Result, one: schema.Expectation, want: Any, got: Any) -> np.ndarray:
    """What is wanted, in the shape of what was got. One number stands for all of them."""
    want = np.asarray(want)
    if want.ndim and want.shape != got.shape:
        path: Path = one.path
        shapes = f"expected values of the shape {list(got.shape)}, found {list(want.shape)}"
        raise result.model.document.fault(path, shapes)
    if not np.all(np.isfinite(want)):
        raise result.model.document.fault(one.path, "what is expected is not finite")
    return np.broadcast_to(want, got.shape)


def times(count: int) -> str:
    """So many times, in words."""
    return "once" if count == 1 else f"{count} times"


def _largest(values: Any) -> float:
    """The largest magnitude; infinite where a value is no number."""
    found = float(np.max(np.abs(values), initial=0.0))
    return math.inf if math.isnan(found) else found
