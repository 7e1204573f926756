"""What notebooks show of a result: a short table and a small picture, without matplotlib."""

import html
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import jax
import numpy as np

from ...calculi.trajectory import Trajectory
from ...circuits.parameters import parameters
from ...circuits.pictured import draws
from ...fitting.result import Fit
from ...jaxprs.concrete import is_concrete
from ...runs.ensemble_result import Ensemble
from ...runs.statistics import is_reduction
from ...status import Status
from .axes import PALETTE
from .fit import ending
from .trajectory import ended
from .wires import output_labels

# A small picture in pixels; how many points a line of it has at most, and how many lines.
WIDTH, HEIGHT, POINTS, LINES = 240, 48, 240, 7
# How many outputs have one, and how many numbers of a circuit are listed.
PICTURES, NUMBERS = 4, 8

# Names and what they are, as HTML.
Rows = Iterator[tuple[str, str]]


def shown(describe: Callable[[Any], Rows], result: Any) -> str:
    """A table of what `describe` says of a result.

    What cannot be described, such as traced numbers, is shown as text: a notebook's cell must not
    fail because its result is not shown well.
    """
    try:
        if is_concrete(*jax.tree.leaves(result)):
            return _table(type(result).__name__, list(describe(result)))
    except Exception:  # see above
        pass
    return f"<pre>{html.escape(repr(result))}</pre>"


@draws("trajectory.html")
def trajectory_html(run: Trajectory) -> str:
    return shown(_trajectory, run)


@draws("ensemble.html")
def ensemble_html(run: Ensemble) -> str:
    return shown(_ensemble, run)


@draws("fit.html")
def fit_html(found: Fit) -> str:
    return shown(_fit, found)


def _trajectory(run: Trajectory) -> Rows:
    yield _times(run.ts)
    if run.ts.ndim != 1:
        good = np.asarray((run.status == Status.ok) | (run.status == Status.event))
        yield "runs", str(good.size)
        yield "failed", str(np.sum(~good))
        return
    early = ended(run)
    yield "status", "ok" if early is None else f"{early[0]} at {early[1]:.6g}"
    for name in ("steps", "rejected"):
        if name in run.stats:
            yield name, str(int(run.stats[name]))
    for name, seen in run.events.items():
        yield f"events {html.escape(name)}", str(int(seen.count))
    yield from _small_pictures(run, lambda values: values)


def _ensemble(run: Ensemble) -> Rows:
    yield _times(run.ts)
    yield "paths", str(np.sum(run.paths))
    yield "ended", str(np.sum(run.failed))
    if run.statistics is not None:
        kept = jax.tree.leaves(run.reduce, is_leaf=is_reduction)
        yield "statistics", html.escape(", ".join(type(one).__name__ for one in kept))
    elif run.ts.ndim == 1:
        # The paths are the entries of a small picture.
        yield from _small_pictures(run, lambda values: np.moveaxis(values[:LINES], 0, 1))


def _fit(found: Fit) -> Rows:
    if found.loss.ndim:
        yield "fits", str(found.loss.size)
        yield "least loss", f"{np.min(found.loss):.6g}"
        return
    yield "status", ending(found)
    yield "loss", f"{float(found.loss):.6g}"
    losses = np.append(np.asarray(found.losses)[: int(found.steps)], found.loss)
    positive = bool(np.all(losses[np.isfinite(losses)] > 0))
    heights = np.log(losses, where=losses > 0, out=np.full(losses.shape, np.nan))
    title = "logarithm of the loss" if positive else "loss"
    yield title, _sparkline(np.arange(len(losses)), [heights if positive else losses])
    for name, value in list(parameters(found.circuit).items())[:NUMBERS]:
        text = f"{value:.6g}" if value.ndim == 0 else f"array {list(value.shape)}"
        yield html.escape(name), text


def _times(ts: Any) -> tuple[str, str]:
    ts = np.asarray(ts).reshape(-1, ts.shape[-1])
    return "times", f"{ts.shape[1]}, from {ts[0, 0]:.6g} to {ts[0, -1]:.6g}"


def _small_pictures(run: Trajectory | Ensemble, over_time: Callable[[np.ndarray], Any]) -> Rows:
    """A small picture of each of the first outputs, of which `over_time` gives `[times, …]`."""
    ts, count = np.asarray(run.ts), len(run.outputs)
    for label, output in list(zip(output_labels(run), run.outputs, strict=True))[:PICTURES]:
        values = over_time(np.asarray(output))
        rows = values.reshape(len(ts), -1)[:, :LINES].T
        parts = [*rows.real, *rows.imag] if np.iscomplexobj(rows) else [*rows]
        yield html.escape(label), _sparkline(ts, parts)
    if count > PICTURES:
        yield "…", f"{count - PICTURES} more outputs"


def _sparkline(ts: np.ndarray, lines: list[np.ndarray]) -> str:
    """Lines as a small SVG, of what is finite, with the least and the greatest value."""
    every = np.concatenate([line[np.isfinite(line)] for line in lines])
    if not every.size:
        return "not finite"
    low, high, first = float(every.min()), float(every.max()), float(ts[0])
    across = (WIDTH - 4) / ((float(ts[-1]) - first) or 1.0)
    up = (HEIGHT - 4) / ((high - low) or 1.0)
    # Of many points some: at least one of each pixel's.
    some = np.unique(np.linspace(0, len(ts) - 1, min(len(ts), POINTS)).round().astype(int))
    drawn = []
    for line, color in zip(lines, cycle(PALETTE), strict=False):
        finite = some[np.isfinite(line[some])]
        xs, ys = 2 + across * (ts[finite] - first), HEIGHT - 2 - up * (line[finite] - low)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{color}"/>')
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(drawn)}</svg>'
    return f"{picture}<br/><small>{low:.4g} to {high:.4g}</small>"


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    style = ' style="text-align:left;vertical-align:top"'
    body = "".join(f"<tr><th{style}>{name}</th><td{style}>{what}</td></tr>" for name, what in rows)
    return f"<table><caption>{title}</caption>{body}</table>"
