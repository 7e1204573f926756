"""What is said of an experiment: as text, and as an object for JSON."""

import dataclasses
from typing import Any

import numpy as np

from ...circuits.parameters import parameters
from .comparing import Comparison, times
from .document import printable
from .results import Result, RunResult

_MOST_LINES = 12


@dataclasses.dataclass(frozen=True)
class Report:
    """How an experiment went.

    - `file`, `title`: which one; the title is empty where the file could not be read.
    - `status`: "ok", "missed" where an expectation is not met, "failed" where a run failed, or
      "wrong" where the experiment is.
    - `message`: what went wrong.
    - `written`: the files that were written.
    """

    file: str
    title: str
    status: str
    message: str = ""
    result: Result | None = None
    comparisons: tuple[Comparison, ...] = ()
    written: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        return {"ok": 0, "missed": 1, "failed": 1, "wrong": 2}[self.status]


def as_text(report: Report) -> str:
    """A few lines for people."""
    lines = [f"{report.file}: {report.title}" if report.file else report.title]
    result = report.result
    if result is not None:
        lines.append(f"  {result.settings}")
        lines += [f"  {line}" for line in (*_fit(result), *_ends(result), *_events(result))]
    lines += [f"  {_compared(one)}" for one in report.comparisons]
    if report.status == "failed":
        lines.append(f"  failed: {report.message}")
    lines += [f"  wrote {path}" for path in report.written]
    return "\n".join(lines)


def as_json(report: Report) -> dict[str, Any]:
    """All of it: the numbers of the table, too."""
    found: dict[str, Any] = {
        "file": report.file,
        "title": report.title,
        "status": report.status,
        "message": report.message,
    }
    result = report.result
    if result is not None:
        found["calculus"] = result.model.experiment.calculus.name
        found["parameters"] = {
            name: np.asarray(value).tolist() for name, value in parameters(result.circuit).items()
        }
        found["columns"] = {name: values.tolist() for name, values in result.columns().items()}
        if isinstance(result, RunResult):
            stats = {name: np.asarray(value).item() for name, value in result.run.stats.items()}
            found["stats"] = stats
            found["events"] = {
                name: _times(seen).tolist() for name, seen in result.run.events.items()
            }
        if result.fitted is not None:
            found["fit"] = _fit_object(result)
    found["expected"] = [
        {
            "what": one.what,
            "error": one.error,
            "time": one.time,
            "allowed": one.allowed,
            "met": one.met,
        }
        for one in report.comparisons
    ]
    found["written"] = list(report.written)
    return found


def _compared(one: Comparison) -> str:
    what = f"{'met' if one.met else 'MISSED'}: {printable(one.what, 72)}"
    if one.count is not None:
        return what if one.met else f"{what}; it happened {times(one.count)}"
    error = f"{one.error:.2g}" + (f" {one.unit}" if one.unit else "")
    allowed = f"allowed {one.allowed:.2g}"
    if one.met:
        return f"{what} within {error}, {allowed}"
    when = "" if one.time is None else f" at the time {one.time:.6g}"
    return f"{what} is off by {error}{when}, {allowed}"


def _ends(result: Result) -> list[str]:
    """How each column begins and ends."""
    columns = result.columns()
    if not hasattr(result, "run"):
        return []
    lines = []
    seen = result.seen() if isinstance(result, RunResult) else slice(None)
    for name, column in list(columns.items())[1:]:
        values = column[seen]
        first, last = f"{values[0]:.6g}", f"{values[-1]:.6g}"
        lines.append(f"{name}: {first}" + (f" to {last}" if len(values) > 1 else ""))
    more = len(lines) - _MOST_LINES
    return lines if more <= 0 else [*lines[:_MOST_LINES], f"and {more} more"]


def _events(result: Result) -> list[str]:
    if not isinstance(result, RunResult):
        return []
    lines = []
    for name, seen in result.run.events.items():
        found = _times(seen)
        shown = ", ".join(f"{time:.6g}" for time in found[:4])
        more = ", …" if len(found) > 4 else ""
        lines.append(f"{name}: {times(len(found))}" + (f", at {shown}{more}" if shown else ""))
    return lines


def _times(seen: Any) -> np.ndarray:
    times = np.asarray(seen.times)
    return times[~np.isnan(times)]


def _fit(result: Result) -> list[str]:
    fitted = result.fitted
    if fitted is None:
        return []
    fit = fitted.fit
    lines = [f"fit: loss {float(fit.loss):.6g} after {int(fit.steps)} steps"]
    numbers = parameters(fit.circuit)
    for name in _free(result):
        entry = f"{name} = {_shown(numbers[name])}"
        known = fitted.uncertainty
        if known is not None and name in known.names:
            entry += f" ± {float(known[name]):.2g}"
        lines.append(entry)
    return [*lines, *fitted.notes]


def _fit_object(result: Result) -> dict[str, Any]:
    fitted = result.fitted
    assert fitted is not None
    known = fitted.uncertainty
    errors = {} if known is None else {name: float(known[name]) for name in known.names}
    return {
        "loss": float(fitted.fit.loss),
        "steps": int(fitted.fit.steps),
        "free": _free(result),
        "standard_errors": errors,
        "notes": list(fitted.notes),
    }


def _free(result: Result) -> list[str]:
    fit = result.model.experiment.fit
    return [] if fit is None else list(fit.free)


def _shown(value: Any) -> str:
    array = np.asarray(value)
    return f"{float(array):.6g}" if not array.ndim else np.array2string(array, precision=6)
