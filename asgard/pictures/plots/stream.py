"""Plots of a stream: its polynomial about its centre."""

from typing import Any

import numpy as np

from ...circuits.pictured import draws
from ...circuits.stream import Stream
from ...errors import CircuitError
from .axes import Units, axes_of, check_units, heat, known, labelled, legend
from .wires import curves, styled

FINE, GRID = 401, 101


@draws("stream.plot")
def plot(
    stream: Stream, *, radius: float = 1.0, name: str = "value", ax: Any = None, units: Units = None
) -> Any:
    """Lines along one dimension, a heat map over two."""
    what = "stream.plot"
    known(what, (stream, radius))
    check_units(what, units)
    if not isinstance(radius, int | float) or not 0 < radius < np.inf:
        raise CircuitError(f"{what}: radius must be a number above 0, not {radius!r}")
    if len(stream.dims) not in (1, 2):
        raise CircuitError(f"{what} draws one or two dimensions, not {stream.dims}")
    count = FINE if len(stream.dims) == 1 else GRID
    points = {
        dim: float(stream.center_of(dim)) + np.linspace(-radius, radius, count)
        for dim in stream.dims
    }
    values = np.asarray(stream.evaluate(**points))
    if len(points) == 2:
        return _map(what, points, values, name, ax, units)
    ((dim, xs),) = points.items()
    entries = list(curves(name, stream.value_shape, np.iscomplexobj(values)))
    ax = axes_of(what, ax)
    # The wire's axes come first in a stream, and last in what curves read.
    values = np.moveaxis(values, -1, 0)
    for curve, (look, in_legend) in zip(entries, styled(entries, ax), strict=True):
        label = curve.label if len(entries) > 1 and in_legend else None
        ax.plot(xs, curve.read(values), label=label, **look)
    ax.axvline(float(stream.center_of(dim)), color="0.6", linewidth=0.8, linestyle=":")
    ax.set_xlabel(labelled(dim, units))
    ax.set_ylabel(labelled(name, units))
    legend(ax)
    return ax


def _map(
    what: str, points: dict[str, np.ndarray], values: np.ndarray, name: str, ax: Any, units: Units
) -> Any:
    """A value over two dimensions."""
    if values.ndim != 2 or np.iscomplexobj(values):
        raise CircuitError(f"{what} draws real numbers over two dimensions, and no arrays of them")
    ax = axes_of(what, ax, (4.8, 4.0))
    (across, xs), (up, ys) = points.items()
    heat(ax, xs, ys, values.T, labelled(name, units))
    ax.set_xlabel(labelled(across, units))
    ax.set_ylabel(labelled(up, units))
    return ax
