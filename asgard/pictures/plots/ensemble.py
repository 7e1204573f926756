"""Plots of an ensemble: fans of quantiles with some paths, or the statistics that were kept."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from ...circuits.fields import as_reals, check_count
from ...circuits.pictured import draws
from ...errors import CircuitError
from ...runs.ensemble_result import Ensemble
from ...runs.statistics import Max, Mean, Min, Quantiles, Reduction, Variance, is_reduction
from .axes import (
    PALETTE,
    Units,
    axes_of,
    check_units,
    known,
    labelled,
    legend,
    looks,
    one_of,
)
from .wires import curves, wires_of

_BAND = {"alpha": 0.2, "linewidth": 0}
_PATH = {"linewidth": 0.6, "alpha": 0.55}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@draws("ensemble.plot")
def plot(
    run: Ensemble,
    *names: str,
    quantiles: Sequence[float] = QUANTILES,
    paths: int = 5,
    ax: Any = None,
    units: Units = None,
) -> Any:
    """A fan for each wire, or what was kept of them."""
    what = "ensemble.plot"
    known(what, run)
    check_units(what, units)
    if run.ts.ndim != 1:
        raise CircuitError(f"{what} draws one ensemble, and this is a batch: take one of it")
    fans = list(
        _kept(what, run, names)
        if run.statistics is not None
        else _stored(what, run, names, quantiles, paths)
    )
    if len(fans) > len(PALETTE):
        raise CircuitError(
            f"{what}: {len(fans)} fans cannot be told apart: name fewer wires, or entries "
            "such as x[0]"
        )
    ax = axes_of(what, ax)
    colors = [color for color, _ in looks(len(fans), ax)]
    for fan, color in zip(fans, colors, strict=True):
        _draw(ax, np.asarray(run.ts), fan, color)
    _explain(ax, fans, colors)
    failed = int(run.failed)
    if failed:
        ax.plot([], [], " ", label=f"{failed} of {int(run.paths)} paths ended")
    ax.set_xlabel(labelled("time", units))
    if len({fan.wire for fan in fans}) == 1:
        ax.set_ylabel(labelled(fans[0].wire, units))
    legend(ax)
    return ax


class _Fan:
    """What is drawn of one curve: quantiles by probability, lines by name, a band, and paths."""

    def __init__(self, wire: str, label: str):
        self.wire, self.label = wire, label
        self.quantiles: dict[float, np.ndarray] = {}
        self.lines: dict[str, np.ndarray] = {}
        self.band: tuple[str, np.ndarray, np.ndarray] | None = None
        self.paths = np.zeros((0, 0))

    def bands(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Bands by name, with their edges: quantiles in pairs from outside in."""
        levels = sorted(self.quantiles)
        pairs = list(zip(levels, reversed(levels), strict=True))[: len(levels) // 2]
        found = [
            (f"{_percent(low)} to {_percent(high)}", self.quantiles[low], self.quantiles[high])
            for low, high in pairs
        ]
        return found if self.band is None else [*found, self.band]

    def every_line(self) -> dict[str, np.ndarray]:
        """Lines by name: of an odd number of quantiles the middle one, and the others."""
        levels = sorted(self.quantiles)
        middle = levels[len(levels) // 2] if len(levels) % 2 else None
        name = "median" if middle == 0.5 else "" if middle is None else _percent(middle)
        return ({} if middle is None else {name: self.quantiles[middle]}) | self.lines


def _stored(
    what: str, run: Ensemble, names: tuple[str, ...], quantiles: Sequence[float], paths: int
) -> Iterator[_Fan]:
    """The fans of stored paths, at each time over the paths that have not ended."""
    levels = sorted(np.ravel(as_reals(f"{what}: quantiles", quantiles)).tolist())
    check_count(what, "paths", paths)
    if not levels or not all(0 <= level <= 1 for level in levels):
        raise CircuitError(f"{what}: quantiles are numbers in 0 to 1, not {quantiles!r}")
    for wire in wires_of(what, run, names, lead=2):
        values = wire.read(run)
        for curve in curves(wire.name, values.shape[2:], np.iscomplexobj(values)):
            rows, fan = curve.read(values), _Fan(wire.name, curve.label)
            fan.quantiles = dict(zip(levels, _quantiles(rows, levels), strict=True))
            fan.paths = rows[:paths]
            yield fan


def _quantiles(rows: np.ndarray, levels: list[float]) -> np.ndarray:
    """The quantiles at each time of what is finite, `[levels, times]`; NaN where nothing is."""
    rows = np.where(np.isfinite(rows), rows, np.nan)
    some = ~np.all(np.isnan(rows), axis=0)
    found = np.full((len(levels), rows.shape[1]), np.nan)
    found[:, some] = np.nanquantile(rows[:, some], levels, axis=0)
    return found


def _kept(what: str, run: Ensemble, names: tuple[str, ...]) -> Iterator[_Fan]:
    """The fans of statistics over time: one for each function of the outputs, and entry of it."""
    leaves, structure = jax.tree.flatten(run.reduce, is_leaf=is_reduction)
    values = structure.flatten_up_to(run.statistics)
    groups: dict[Any, list[tuple[Reduction, np.ndarray]]] = {}
    for reduction, value in zip(leaves, values, strict=True):
        over_time = np.shape(value)[:1] == run.ts.shape
        if over_time and isinstance(reduction, Mean | Variance | Min | Max | Quantiles):
            groups.setdefault(reduction.of, []).append((reduction, np.asarray(value)))
    if not groups:
        kept = ", ".join(type(reduction).__name__ for reduction in leaves)
        raise CircuitError(
            f"{what} draws Mean, Variance, Min, Max and Quantiles of values at each of the "
            f"{len(run.ts)} times; of these the ensemble kept none, but {kept}"
        )
    titles = {of: _title(of, number) for number, of in enumerate(groups)}
    if names:
        for name in names:
            if name not in titles.values():
                raise one_of(what, name, list(titles.values()))
        groups = {of: group for of, group in groups.items() if titles[of] in names}
    for of, group in groups.items():
        yield from _fans(titles[of], group)


def _title(of: Any, number: int) -> str:
    """What a wire, or a function of the outputs, is called."""
    if isinstance(of, str):
        return of
    name = "output" if of is None else getattr(of, "__name__", "<lambda>")
    return f"function {number}" if name == "<lambda>" else name


def _fans(title: str, group: list[tuple[Reduction, np.ndarray]]) -> Iterator[_Fan]:
    """The fans of the statistics of one function of the outputs."""
    first, value = group[0]
    shape = value.shape[1 : value.ndim - isinstance(first, Quantiles)]
    for curve in curves(title, shape, False):
        fan, kinds = _Fan(title, curve.label), {}
        for reduction, value in group:
            if isinstance(reduction, Quantiles):
                levels = np.asarray(reduction.probabilities)
                for place, level in enumerate(levels):
                    fan.quantiles[round(float(level), 6)] = curve.read(value[..., place])
            else:
                kinds[type(reduction)] = curve.read(value)
        names = {Mean: "mean", Min: "least", Max: "greatest"}
        fan.lines = {names[kind]: row for kind, row in kinds.items() if kind in names}
        if Variance in kinds and Mean in kinds:
            spread = np.sqrt(kinds[Variance])
            band = kinds[Mean] - 2 * spread, kinds[Mean] + 2 * spread
            fan.band = ("± 2 standard deviations", *band)
        elif Variance in kinds:
            fan.lines["variance"] = kinds[Variance]
        yield fan


def _draw(ax: Any, ts: np.ndarray, fan: _Fan, color: str) -> None:
    """A fan: pairs of quantiles as bands, the middle one and other lines as lines, paths thin."""
    for path in fan.paths:
        ax.plot(ts, path, color=color, **_PATH)
    for _, low, high in fan.bands():
        ax.fill_between(ts, low, high, color=color, **_BAND)
    for name, row in fan.every_line().items():
        ax.plot(ts, row, color=color, **_line(name, fan))


def _explain(ax: Any, fans: list[_Fan], colors: list[Any]) -> None:
    """What the legend says: each fan by its colour, and what bands and lines are, once."""
    color = colors[0] if len(fans) == 1 else "#555555"
    if len(fans) > 1:
        for fan, own in zip(fans, colors, strict=True):
            ax.plot([], [], color=own, linewidth=4, label=fan.label)
    said = set()
    for fan in fans:
        for name in fan.every_line():
            if name not in said:
                ax.plot([], [], color=color, label=name, **_line(name, fan))
        for name, *_ in fan.bands():
            if name not in said:
                ax.fill_between([], [], [], color=color, label=name, **_BAND)
        if len(fan.paths) and "paths" not in said:
            ax.plot([], [], color=color, label="paths", **_PATH)
        said |= {*fan.every_line(), *(name for name, *_ in fan.bands()), "paths"}


def _line(name: str, fan: _Fan) -> dict[str, Any]:
    """The look of a line: thick and solid for what is in the middle."""
    if name == "median" or (name == "mean" and not fan.quantiles):
        return {"linewidth": 2}
    return {"linewidth": 1.4, "linestyle": "--" if name in ("mean", "variance") else ":"}


def _percent(level: float) -> str:
    return f"{100 * level:g} %"
