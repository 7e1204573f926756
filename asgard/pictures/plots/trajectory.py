"""Plots of a run: its wires over time, and one against another."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from ...calculi.trajectory import Trajectory
from ...circuits.pictured import draws
from ...errors import CircuitError
from ...status import Status
from .axes import (
    ENDED,
    EVENT,
    FAILED,
    MARKED,
    Units,
    axes_of,
    check_units,
    known,
    labelled,
    legend,
)
from .wires import Curve, Wire, curves, styled, wires_of

# What each event is marked by.
_MARKERS = "osD^vPX*"
# So many curves are thin.
CROWDED = 15
_FAILURES = tuple(name for name in Status._name_to_item if name not in ("ok", "event"))  # pyright: ignore


@draws("trajectory.plot")
def plot(
    run: Trajectory,
    *names: str,
    label: str | None = None,
    ax: Any = None,
    units: Units = None,
) -> Any:
    """Wires over time."""
    what = "trajectory.plot"
    check_run(what, run)
    check_units(what, units)
    wires = wires_of(what, run, names)
    ax = axes_of(what, ax)
    ts = np.asarray(run.ts)
    pairs = [(wire, curve) for wire in wires for curve in curves_of(run, wire)]
    style = {
        "linewidth": 1.6 if len(pairs) < CROWDED else 0.9,
        "marker": "." if len(ts) <= MARKED else None,
    }
    looks = styled([curve for _, curve in pairs], ax)
    for (wire, curve), (look, in_legend) in zip(pairs, looks, strict=True):
        said = None
        if in_legend and (len(pairs) > 1 or label is not None):
            said = _label(curve, wire, label, units, len(pairs))
        ax.plot(ts, curve.read(wire.read(run)), label=said, **look, **style)
        for name, marker in markers(run):
            seen = run.events[name]
            _mark(ax, seen, (seen.times, curve.read(wire.read(seen))), marker, look)
    _legend_of_events(ax, run)
    shade(ax, run)
    ax.set_xlabel(labelled("time", units))
    if len(wires) == 1:
        ax.set_ylabel(labelled(wires[0].name, units))
    legend(ax)
    return ax


@draws("trajectory.phase")
def phase(
    run: Trajectory,
    x: str,
    y: str,
    *,
    label: str | None = None,
    ax: Any = None,
    units: Units = None,
) -> Any:
    """One wire against another."""
    what = "trajectory.phase"
    check_run(what, run)
    check_units(what, units)
    across, up = wires_of(what, run, (x, y))
    if across.read(run).shape != up.read(run).shape:
        shapes = [list(wire.read(run).shape[1:]) for wire in (across, up)]
        raise CircuitError(f"{what}: {x} and {y} carry arrays of other shapes: {shapes}")
    if np.iscomplexobj(across.read(run)) or np.iscomplexobj(up.read(run)):
        raise CircuitError(f"{what} draws real wires, and one of {x} and {y} is complex")
    ax = axes_of(what, ax, (4.8, 4.2))
    entries = list(curves_of(run, across))
    style = {"marker": "." if len(run.ts) <= MARKED else None}
    for curve, (look, in_legend) in zip(entries, styled(entries, ax), strict=True):
        xs, ys = curve.read(across.read(run)), curve.read(up.read(run))
        said = None
        if in_legend and (len(entries) > 1 or label is not None):
            entry = curve.label.removeprefix(across.name)
            said = entry if label is None else label + (f": {entry}" if entry else "")
        ax.plot(xs, ys, label=said, **look, **style)
        ax.plot(xs[:1], ys[:1], "o", color=look["color"], label=_once(ax, "start"))
        for name, marker in markers(run):
            seen = run.events[name]
            places = curve.read(across.read(seen)), curve.read(up.read(seen))
            _mark(ax, seen, places, marker, look)
    _legend_of_events(ax, run)
    ax.set_xlabel(labelled(across.name, units))
    ax.set_ylabel(labelled(up.name, units))
    legend(ax)
    return ax


def check_run(what: str, run: Trajectory) -> None:
    """Raises `CircuitError` for a run that is traced, and for many runs in one."""
    known(what, run)
    if run.ts.ndim != 1:
        raise CircuitError(
            f"{what} draws one run, and this is a batch {list(run.ts.shape[:-1])}: take one of it, "
            "such as jax.tree.map(lambda leaf: leaf[0], trajectory)"
        )


def curves_of(run: Trajectory, wire: Wire) -> list[Curve]:
    """The curves of a wire over time."""
    values = wire.read(run)
    return list(curves(wire.name, values.shape[1:], np.iscomplexobj(values)))


def markers(run: Trajectory) -> list[tuple[str, str]]:
    """The events that happened, and the marker of each."""
    return [
        (name, _MARKERS[index % len(_MARKERS)])
        for index, (name, seen) in enumerate(run.events.items())
        if int(seen.count)
    ]


def ended(run: Trajectory) -> tuple[str, float] | None:
    """How a run ended early, and when; None where it did not."""
    names = [name for name in (*_FAILURES, "event") if bool(run.status == getattr(Status, name))]
    if not names:
        return None
    ts = np.asarray(run.ts, float)
    arrays = [np.asarray(x).reshape(len(ts), -1) for x in (*run.outputs, *run.names.values())]
    good = np.all([np.all(np.isfinite(x), axis=1) for x in arrays], axis=0) if arrays else ts == ts
    last = ts[good][-1] if np.any(good) else ts[0]
    return names[0], float(run.stats.get("reached", jnp.asarray(last)))


def shade(ax: Any, run: Trajectory) -> None:
    """Shades the times that a run did not reach; the legend says why."""
    found = ended(run)
    if found is None:
        return
    name, reached = found
    color = ENDED if name == "event" else FAILED
    said = "ended by an event" if name == "event" else f"failed: {name}"
    ax.axvspan(reached, float(run.ts[-1]), color=color, alpha=0.15, linewidth=0, label=said)


def _label(curve: Curve, wire: Wire, label: str | None, units: Units, count: int) -> str:
    """What the legend calls a curve: its name, behind the plot's label if it has one."""
    name = curve.label + labelled(wire.name, units).removeprefix(wire.name)
    return name if label is None else label if count == 1 else f"{label}: {name}"


def _mark(ax: Any, seen: Any, places: tuple[Any, Any], marker: str, look: Any) -> None:
    xs, ys = (np.asarray(place)[: int(seen.count)] for place in places)
    style = {
        "markerfacecolor": "white",
        "markeredgecolor": look["color"],
        "markersize": 5,
        "zorder": 3,
    }
    ax.plot(xs, ys, marker, **style)


def _legend_of_events(ax: Any, run: Trajectory) -> None:
    """An entry for each event, whatever curves it marks."""
    style = {"markerfacecolor": "white", "markeredgecolor": EVENT, "markersize": 5}
    for name, marker in markers(run):
        ax.plot([], [], marker, label=_once(ax, f"event: {name}"), **style)


def _once(ax: Any, label: str) -> str | None:
    """A label, or None where the axes have it: several runs on them share it."""
    return None if label in ax.get_legend_handles_labels()[1] else label
