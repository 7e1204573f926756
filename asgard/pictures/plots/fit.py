"""Plots of a fit: how its loss fell, and its model beside data."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ...circuits.fields import as_reals
from ...circuits.parameters import parameters
from ...circuits.pictured import draws
from ...errors import CircuitError
from ...fitting.compiled import Compiled
from ...fitting.result import Fit, FitStatus
from ...fitting.sensitivity import Uncertainty, sensitivities
from ...jaxprs.settings import callers_promotion
from .axes import Units, axes_of, check_units, in_legend, known, labelled, legend, looks

# A line through so many times looks smooth.
FINE = 301


class _Named(eqx.Module):
    """A user's model, whose values are by name."""

    model: Callable[..., Any]

    def __call__(self, circuit: Any, ts: Any) -> dict[str, Any]:
        with callers_promotion():
            return _named(self.model(circuit, ts))


_values = Compiled(_Named.__call__)


@draws("fit.plot")
def plot(found: Fit, *, ax: Any = None) -> Any:
    """The loss before each step, and where the fit ended; a line for each fit of a batch."""
    what = "fit.plot"
    known(what, found)
    ax = axes_of(what, ax)
    losses = np.asarray(found.losses).reshape(found.loss.size, -1)
    ends = np.ravel(found.loss), np.ravel(found.steps)
    labels, look = in_legend(len(losses)), looks(len(losses), ax)
    for index, (row, loss, steps) in enumerate(zip(losses, *ends, strict=True)):
        points = np.append(row[: int(steps)], loss)
        label = f"fit {index}" if len(losses) > 1 and index in labels else None
        color, styles = look[index]
        ax.plot(points, color=color, linestyle=styles[0], linewidth=1.6, label=label)
        ax.plot(int(steps), loss, "o", color=color, markersize=5)
    every = np.concatenate([losses.ravel(), ends[0]])
    every = every[np.isfinite(every)]
    if every.size and np.all(every > 0):
        ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel("loss")
    if len(losses) == 1:
        ax.set_title(ending(found), fontsize="medium")
    legend(ax)
    return ax


@draws("fit.plot_data")
def plot_data(
    found: Fit,
    model: Callable[..., Any],
    ts: Any,
    data: Any,
    *,
    uncertainty: Uncertainty | None = None,
    ax: Any = None,
    units: Units = None,
) -> Any:
    """Data as points, the fitted model as lines, and its band where the uncertainty is given."""
    what = "fit.plot_data"
    known(what, (found, ts, data, uncertainty))
    check_units(what, units)
    if found.loss.ndim:
        raise CircuitError(f"{what} draws one fit, and this is a batch: take one of it")
    ts = np.asarray(as_reals(f"{what}: ts", ts))
    points = _named(data)
    fine = jnp.linspace(ts.min(), ts.max(), FINE, dtype=ts.dtype)
    named = _Named(model)
    lines = {k: np.asarray(line) for k, line in _values(named, found.circuit, fine).items()}
    _check_shapes(what, ts, points, lines)
    spreads = _spreads(found, named, fine, uncertainty)
    ax = axes_of(what, ax)
    for (name, line), (color, styles) in zip(lines.items(), looks(len(lines), ax), strict=True):
        before = "" if len(lines) == 1 else f"{labelled(name, units)}, "
        if spreads is not None:
            band = line - 2 * spreads[name], line + 2 * spreads[name]
            label = f"{before}± 2 standard errors"
            ax.fill_between(fine, *band, color=color, alpha=0.2, linewidth=0, label=label)
        ax.plot(fine, line, color=color, linestyle=styles[0], label=f"{before}fitted")
        ax.plot(ts, points[name], "o", color=color, markersize=4, label=f"{before}data")
    ax.set_xlabel(labelled("time", units))
    if len(lines) == 1 and "value" not in lines:
        ax.set_ylabel(labelled(next(iter(lines)), units))
    legend(ax)
    return ax


def ending(found: Fit) -> str:
    """How one fit ended, and after how many steps."""
    steps = int(found.steps)
    if bool(found.status == FitStatus.steps):
        return f"all {steps} steps taken"
    names = ("converged", "interrupted", "nonfinite")
    (how,) = (name for name in names if bool(found.status == getattr(FitStatus, name)))
    return f"{how} after {steps} steps"


def _named(values: Any) -> dict[str, Any]:
    """What a model or data hold, by name."""
    if isinstance(values, dict):
        return values
    if isinstance(values, list | tuple) and all(map(np.ndim, values)):
        return {f"value {index}": value for index, value in enumerate(values)}
    return {"value": values}  # a list of numbers is an array


def _check_shapes(what: str, ts: np.ndarray, points: Any, lines: dict[str, np.ndarray]) -> None:
    """Raises `CircuitError` where data and model do not fit each other."""
    if ts.ndim != 1 or set(points) != set(lines):
        names = ", ".join(map(repr, points)), ", ".join(map(repr, lines))
        raise CircuitError(
            f"{what}: data {names[0]} at times of shape {list(ts.shape)} are not what the model "
            f"returns, {names[1]}: give arrays [times], or dictionaries or tuples of such arrays"
        )
    for name, line in lines.items():
        shape = np.shape(points[name])
        if shape != ts.shape or line.shape != (FINE,):
            raise CircuitError(
                f"{what}: {name!r} takes data [{len(ts)}], one for each time, and a model that "
                f"returns one for each, not {list(shape)} and {list(line.shape)} at {FINE} times"
            )


def _spreads(
    found: Fit, named: Callable[..., Any], ts: Any, uncertainty: Uncertainty | None
) -> dict[str, np.ndarray] | None:
    """The standard errors of the model at each time, to first order in those of the numbers."""
    if uncertainty is None:
        return None
    entries, names = list(uncertainty.names), parameters(found.circuit)
    # An entry of an array is named `name[index]`.
    numbers = dict.fromkeys(n if n in names else n.rpartition("[")[0] for n in entries)
    slopes = sensitivities(found.circuit, named, args=(ts,), trainable=list(numbers))
    spreads = {}
    for name in next(iter(slopes.values())):
        columns = [np.asarray(one[name]).reshape(len(ts), -1) for one in slopes.values()]
        jacobian = np.concatenate(columns, axis=1)
        variance = np.einsum("tp,pq,tq->t", jacobian, uncertainty.covariance, jacobian)
        spreads[name] = np.sqrt(variance)
    return spreads
