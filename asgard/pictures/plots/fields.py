"""Plots of wires that carry fields: arrays over space, one or two axes of it."""

from typing import Any

import numpy as np

from ...calculi.trajectory import Trajectory
from ...circuits.pictured import draws
from ...errors import CircuitError
from .axes import Units, axes_of, check_units, heat, labelled, legend
from .trajectory import check_run, shade
from .wires import wires_of

Space = Any  # positions along the field's axis, or a pair of them for two axes


@draws("trajectory.heat_map")
def heat_map(
    run: Trajectory,
    name: str,
    *,
    space: Space = None,
    at: float | None = None,
    ax: Any = None,
    units: Units = None,
) -> Any:
    """A field of one axis over time and space; of two, at one time."""
    what = "trajectory.heat_map"
    check_units(what, units)
    values, places = _field(what, run, name, space)
    ts = np.asarray(run.ts)
    if values.ndim == 2 and at is not None:
        raise CircuitError(f"{what}: at is for fields of two axes, and {name} has one")
    shown = None if values.ndim == 2 else _row(what, ts, values, at)
    ax = axes_of(what, ax, (6.4, 3.6) if shown is None else (4.8, 4.0))
    if shown is None:
        heat(ax, ts, places[0], values.T, labelled(name, units))
        ax.set_xlabel(labelled("time", units))
        ax.set_ylabel(_axis_label(0, values, space, units))
        shade(ax, run)
        legend(ax)
        return ax
    heat(ax, places[1], places[0], values[shown], labelled(name, units))
    if space is None:
        ax.set_aspect("equal")
    ax.set_title(_moment(ts[shown], units))
    ax.set_xlabel(_axis_label(1, values, space, units))
    ax.set_ylabel(_axis_label(0, values, space, units))
    return ax


@draws("trajectory.animate")
def animate(
    run: Trajectory,
    name: str,
    *,
    space: Space = None,
    interval: float = 50.0,
    ax: Any = None,
    units: Units = None,
) -> Any:
    """A field as a film, a picture for each saved time that the run reached."""
    what = "trajectory.animate"
    check_units(what, units)
    values, places = _field(what, run, name, space)
    ts = np.asarray(run.ts)
    rows = _finite_rows(what, values)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    ax = axes_of(what, ax, (6.4, 3.6) if values.ndim == 2 else (4.8, 4.0))
    from matplotlib.animation import FuncAnimation

    if values.ndim == 2:
        (drawn,) = ax.plot(places[0], values[rows[0]], color="#0072B2")
        margin = 0.05 * (high - low) or 1.0
        ax.set_ylim(low - margin, high + margin)
        ax.set_xlabel(_axis_label(0, values, space, units))
        ax.set_ylabel(labelled(name, units))
    else:
        drawn = heat(ax, places[1], places[0], values[rows[0]], labelled(name, units))
        drawn.set_clim(low, high)
        if space is None:
            ax.set_aspect("equal")
        ax.set_xlabel(_axis_label(1, values, space, units))
        ax.set_ylabel(_axis_label(0, values, space, units))

    def show(row: int) -> list[Any]:
        if values.ndim == 2:
            drawn.set_ydata(values[row])
        else:
            drawn.set_array(values[row])
        ax.set_title(_moment(ts[row], units))
        return [drawn]

    show(rows[0])
    return FuncAnimation(ax.get_figure(), show, frames=rows, interval=interval)


def _field(what: str, run: Trajectory, name: str, space: Space) -> tuple[np.ndarray, list[Any]]:
    """A wire's values, `[times, n]` or `[times, n, m]`, and the places along each axis."""
    check_run(what, run)
    (wire,) = wires_of(what, run, (name,))
    values = wire.read(run)
    axes = values.shape[1:]
    if len(axes) not in (1, 2) or np.iscomplexobj(values):
        kind = "complex" if np.iscomplexobj(values) else f"of shape {list(axes)}"
        raise CircuitError(f"{what} draws real fields of one or two axes, and {name} is {kind}")
    if space is None:
        return values, [np.arange(n) for n in axes]
    given = [space] if len(axes) == 1 else list(space)
    places = [np.asarray(one) for one in given]
    if [one.shape for one in places] != [(n,) for n in axes]:
        raise CircuitError(
            f"{what}: space has positions along each axis of {name}, of {list(axes)} entries, not "
            f"of shapes {[list(one.shape) for one in places]}"
        )
    return values, places


def _finite_rows(what: str, values: np.ndarray) -> list[int]:
    rows = np.flatnonzero(np.all(np.isfinite(values.reshape(len(values), -1)), axis=1)).tolist()
    if not rows:
        raise CircuitError(f"{what}: the field is not finite at any time")
    return rows


def _row(what: str, ts: np.ndarray, values: np.ndarray, at: float | None) -> int:
    """The saved time nearest to one asked for; by default the last that the run reached."""
    rows = _finite_rows(what, values)
    if at is None:
        return rows[-1]
    if not min(ts) <= at <= max(ts):
        raise CircuitError(f"{what}: the run goes from {ts[0]:g} to {ts[-1]:g}, without {at:g}")
    return int(np.argmin(np.abs(ts - at)))


def _axis_label(axis: int, values: np.ndarray, space: Space, units: Units) -> str:
    if values.ndim == 3:
        return labelled(f"axis {axis}", units)
    return labelled("entry" if space is None else "space", units)


def _moment(t: float, units: Units) -> str:
    unit = "" if units is None or "time" not in units else f" {units['time']}"
    return f"time {t:.4g}{unit}"
