"""What a result shows of itself: a short table, with small pictures in notebooks.

None of it needs matplotlib.
"""

import dataclasses
import functools
import html
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ...calculi.trajectory import Trajectory
from ...circuits.parameters import parameters
from ...circuits.pictured import draws
from ...fitting.many import FitEnsemble
from ...fitting.result import Fit
from ...fitting.sensitivity import Uncertainty
from ...jaxprs.concrete import is_concrete
from ...runs.ensemble_result import Ensemble
from ...runs.equilibrium import Equilibrium
from ...runs.statistics import is_reduction
from ...runs.stretches.unfinished import Unfinished
from ...status import Status
from .axes import PALETTE
from .fit import ending
from .trajectory import ended
from .wires import output_labels

# A small picture in pixels; how many points a line of it has at most, and how many lines.
WIDTH, HEIGHT, POINTS, LINES = 240, 48, 240, 7
# How many outputs have one, and how many numbers of a circuit are listed.
PICTURES, NUMBERS = 4, 8


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table: what it is about, what is said of it, and a small picture as SVG.

    What says little without its picture is no row of text.
    """

    name: str
    text: str
    picture: str = ""
    is_text: bool = True

    @property
    def html(self) -> str:
        """The row of a table in HTML."""
        style = ' style="text-align:left;vertical-align:top"'
        name, text = html.escape(self.name), html.escape(self.text)
        if self.picture:
            text = f"{self.picture}<br/><small>{text}</small>"
        return f"<tr><th{style}>{name}</th><td{style}>{text}</td></tr>"


Rows = Iterator[Row]


def rows_of(describe: Callable[[Any], Rows], result: Any) -> list[Row]:
    """What `describe` says of a result; nothing of what it cannot describe, such as traced numbers.

    Neither `print` nor a notebook's cell may fail because a result is not shown well.
    """
    try:
        if is_concrete(*jax.tree.leaves(result)):
            return list(describe(result))
    except Exception:  # see above
        pass
    return []


def text_of(describe: Callable[[Any], Rows], result: Any) -> str:
    """A table of a result as text."""
    rows = [row for row in rows_of(describe, result) if row.is_text]
    if not rows:
        return eqx.tree_pformat(result)
    width = max(len(row.name) for row in rows)
    lines = [f"  {row.name:{width}}  {row.text}" for row in rows]
    return "\n".join([type(result).__name__, *lines])


def html_of(describe: Callable[[Any], Rows], result: Any) -> str:
    """A table of a result as HTML."""
    rows = rows_of(describe, result)
    if not rows:
        return f"<pre>{html.escape(repr(result))}</pre>"
    body = "".join(row.html for row in rows)
    return f"<table><caption>{type(result).__name__}</caption>{body}</table>"


def _trajectory(run: Trajectory) -> Rows:
    yield _times(run.ts)
    if run.method is not None:
        written = eqx.tree_pformat(run.method, struct_as_array=True)
        yield Row("method", " ".join(written.split()))
    if run.ts.ndim != 1:
        good = np.asarray((run.status == Status.ok) | (run.status == Status.event))
        yield Row("runs", str(good.size))
        yield Row("failed", str(np.sum(~good)))
        return
    early = ended(run)
    yield Row("status", "ok" if early is None else f"{early[0]} at {early[1]:.6g}")
    for name in ("steps", "rejected"):
        if name in run.stats:
            yield Row(name, str(int(run.stats[name])))
    for name, seen in run.events.items():
        yield Row(f"events {name}", str(int(seen.count)))
    yield from _small_pictures(run, lambda values: values, is_whole=early is None)


def _ensemble(run: Ensemble) -> Rows:
    yield _times(run.ts)
    yield Row("paths", str(np.sum(run.paths)))
    yield Row("ended", str(np.sum(run.failed)))
    if isinstance(run.state, Unfinished):
        yield Row("status", "interrupted")
    if run.statistics is not None:
        kept = jax.tree.leaves(run.reduce, is_leaf=is_reduction)
        yield Row("statistics", ", ".join(type(one).__name__ for one in kept))
    elif run.ts.ndim == 1:
        # The paths are the entries of a small picture.
        yield from _small_pictures(run, lambda values: np.moveaxis(values[:LINES], 0, 1))


def _fit(found: Fit) -> Rows:
    if found.loss.ndim:
        yield Row("fits", str(found.loss.size))
        yield Row("least loss", f"{np.min(found.loss):.6g}")
        return
    yield Row("status", ending(found))
    yield Row("loss", f"{float(found.loss):.6g}")
    losses = np.append(np.asarray(found.losses)[: int(found.steps)], found.loss)
    positive = bool(np.all(losses[np.isfinite(losses)] > 0))
    heights = np.log(losses, where=losses > 0, out=np.full(losses.shape, np.nan))
    title = "logarithm of the loss" if positive else "loss"
    course = _sparkline(title, np.arange(len(losses)), [heights if positive else losses])
    yield dataclasses.replace(course, is_text=False)
    for name, value in list(parameters(found.circuit).items())[:NUMBERS]:
        yield Row(name, _number(value))


def _fits(found: FitEnsemble) -> Rows:
    yield Row("fits", str(found.all.loss.size))
    yield Row("agree", str(int(found.agree)))
    yield from _fit(found.best)


def _uncertainty(known: Uncertainty) -> Rows:
    values, errors = np.atleast_2d(known.values), np.atleast_2d(known.standard_errors)
    if len(values) > 1:
        yield Row("fits", str(len(values)))
        return
    for name, value, error in zip(known.names, values[0], errors[0], strict=True):
        yield Row(name, f"{value:.6g} ± {error:.2g}")
    yield Row("condition", f"{float(known.condition):.3g}")


def _equilibrium(found: Equilibrium) -> Rows:
    if found.t.ndim:
        good = np.asarray(found.status == Status.ok)
        yield Row("equilibria", str(good.size))
        yield Row("failed", str(np.sum(~good)))
        return
    yield Row("status", "ok" if bool(found.status == Status.ok) else "not_converged")
    for name, value in list(found.state.items())[:NUMBERS]:
        yield Row(name, _number(value))
    for index, value in enumerate(found.inputs[:NUMBERS]):
        yield Row(f"input {index}", _number(value))


def _number(value: Any) -> str:
    return f"{value:.6g}" if value.ndim == 0 else f"array {list(value.shape)}"


def _times(ts: Any) -> Row:
    ts = np.asarray(ts).reshape(-1, ts.shape[-1])
    return Row("times", f"{ts.shape[1]}, from {ts[0, 0]:.6g} to {ts[0, -1]:.6g}")


def _small_pictures(
    run: Trajectory | Ensemble, over_time: Callable[[np.ndarray], Any], is_whole: bool = False
) -> Rows:
    """A small picture of each of the first outputs, of which `over_time` gives `[times, …]`.

    Of a run that `is_whole` the text says at how many times a wire has no finite number.
    """
    ts, count = np.asarray(run.ts), len(run.outputs)
    for label, output in list(zip(output_labels(run), run.outputs, strict=True))[:PICTURES]:
        values = over_time(np.asarray(output))
        rows = values.reshape(len(ts), -1)[:, :LINES].T
        parts = [*rows.real, *rows.imag] if np.iscomplexobj(rows) else [*rows]
        row = _sparkline(label, ts, parts, np.asarray(output))
        lost = int(np.sum(~np.isfinite(values).reshape(len(ts), -1).all(axis=1)))
        if is_whole and row.picture and lost:
            text = f"{row.text}, not finite at {lost} of {len(ts)} times"
            row = dataclasses.replace(row, text=text)
        yield row
    if count > PICTURES:
        yield Row("…", f"{count - PICTURES} more outputs")


def _sparkline(
    name: str, ts: np.ndarray, lines: list[np.ndarray], values: np.ndarray | None = None
) -> Row:
    """Lines as a small SVG, of what is finite, with the least and the greatest of all values.

    `values` are those of which the lines are some; without them there are no others.
    """
    every = np.concatenate(lines) if values is None else values.ravel()
    every = np.concatenate([np.real(every), np.imag(every)]) if np.iscomplexobj(every) else every
    every = every[np.isfinite(every)]
    if not every.size:
        return Row(name, "not finite")
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
    return Row(name, f"{low:.4g} to {high:.4g}", picture)


for _name, _describe in {
    "trajectory": _trajectory,
    "ensemble": _ensemble,
    "fit": _fit,
    "fit_ensemble": _fits,
    "uncertainty": _uncertainty,
    "equilibrium": _equilibrium,
}.items():
    draws(f"{_name}.text")(functools.partial(text_of, _describe))
    draws(f"{_name}.html")(functools.partial(html_of, _describe))
