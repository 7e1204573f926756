"""The compiled programs of `ensemble`: as a whole, and in stretches that are shown and saved."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array

from ..calculi.stochastic.calculus import Stochastic, continued
from ..calculi.stochastic.failures import Failures
from ..calculi.stochastic.long import Crowd, Gains, LongTiles
from ..calculi.stochastic.noise import Words
from ..calculi.stochastic.tile import Tile
from ..calculi.stochastic.tiles import Stored, Tiles, tiles
from ..circuits.circuit import Circuit
from ..jaxprs.concrete import run_compiled
from ..jaxprs.meshes import without_mesh
from ..jaxprs.settings import default_promotion
from ..status import Status
from .ensemble_result import Ensemble
from .long import OF_ANOTHER
from .statistics import by_wire
from .stretches.checkpoint import Checkpoint
from .stretches.compiled import LongRun, Programs
from .stretches.report import Told
from .stretches.report import Words as Said
from .stretches.unfinished import Unfinished
from .stretches.work import in_stretches


@dataclasses.dataclass(frozen=True)
class Layout:
    """What of an ensemble is static: the dimension that is time, how many paths, the width of their
    tiles, the devices, and how many rounds of tiles are in the state."""

    dim: str | None
    paths: int
    width: int
    mesh: Mesh | None
    done: int


# A circuit, its calculus, times and inputs, the key's words, statistics, and a state; the layout.
Given = tuple[Circuit, Stochastic, Array, Any, Words | None, tuple[Any, ...], Any, Layout]


def whole_ensemble(given: Given) -> Ensemble:
    """`ensemble` as one program."""
    return run_compiled(_run_compiled, _run, *given)


def _tiles(given: Given) -> tuple[Tiles, Tile]:
    """The tiles, and one of one path, by which things are known of all."""
    circuit, calculus, ts, sources, words, _, _, layout = given
    make = tiles(calculus, circuit, ts, sources, layout.dim)
    probe = make(words, jnp.zeros(1, jnp.uint32))
    times = ts.astype(probe.equation.pointwise.time_dtype)
    return Tiles(make, times, words, layout.paths, layout.width, layout.mesh), probe


def _long(given: Given) -> tuple[LongTiles, Tile]:
    """The tiles of a run in stretches, and one of one path."""
    *_, reductions, state, layout = given
    run, probe = _tiles(given)
    if reductions:
        begin = run.begun(reductions, state)
        return LongTiles(run, reductions, begin, layout.done, None), probe
    start = None if state is None else continued(probe, state, layout.paths)
    return LongTiles(run, (), None, 0, start), probe


def _of_statistics(
    given: Given, probe: Tile, statistics: Any, state: Any, failures: Failures, paths: Any
) -> Ensemble:
    """The ensemble of so many paths that were reduced."""
    cut = probe.equation.pointwise.cut
    only = cut.output_names[0] if len(cut.graph.outputs) == 1 else None
    names = by_wire(given[5], statistics, only if only in cut.named else None)
    found = {"outputs": (), "names": names, "first_bad": None, "status": None}
    return _ensemble(given, probe, failures, paths, statistics=statistics, state=state, **found)


def _of_paths(given: Given, probe: Tile, stored: Stored) -> Ensemble:
    """The ensemble of paths that are stored."""
    found = {k: getattr(stored, k) for k in ("outputs", "names", "first_bad", "status")}
    paths = given[-1].paths
    return _ensemble(
        given, probe, stored.failures, paths, statistics=None, state=stored.end, **found
    )


def _ensemble(given: Given, probe: Tile, failures: Failures, paths: Any, **found: Any) -> Ensemble:
    pointwise, ts = probe.equation.pointwise, given[2]
    return Ensemble(
        ts=ts,
        paths=jnp.asarray(paths, jnp.uint32),
        failures=failures,
        time_of_failure=probe.steps.times(ts.astype(pointwise.time_dtype), failures.step),
        wires=pointwise.wire_names,
        loops=pointwise.cut.loop_names,
        **found,
    )


@default_promotion()
def _run(*given: Any) -> Ensemble:
    *_, reductions, state, layout = given
    run, probe = _tiles(given)
    if reductions:
        found = run.reduced(reductions, state, layout.done)
        return _of_statistics(given, probe, *found, layout.paths)
    start = None if state is None else continued(probe, state, layout.paths)
    return _of_paths(given, probe, run.stored(start))


@default_promotion()
def _blank(*given: Any) -> tuple[Crowd, Gains]:
    long, _ = _long(given)
    now = long.blank()
    return now, long.gains(now)


@default_promotion()
def _advance(*arguments: Any) -> tuple[Crowd, Gains]:
    *given, now, turns = arguments
    long, _ = _long(tuple(given))
    now = long.advance(now, turns)
    return now, long.gains(now)


@default_promotion()
def _read(*arguments: Any) -> Ensemble:
    *given, now = arguments
    long, probe = _long(tuple(given))
    if long.reductions:
        return _of_statistics(tuple(given), probe, *long.statistics(now))
    stored, done = long.stored(now)
    how = jax.vmap(lambda done, how: Status.where(done, how, Status.interrupted))(
        done, stored.status
    )
    return _of_paths(tuple(given), probe, dataclasses.replace(stored, status=how))


_run_compiled = jax.jit(without_mesh(_run), static_argnums=7)
_PROGRAMS = Programs(_blank, _advance, _read, 7)


class Crowded(LongRun):
    """An ensemble. Where it stands are `Gains`."""

    programs = _PROGRAMS
    what = "ensemble"
    words = Said("path", "failed")

    def __init__(
        self,
        given: Given,
        named: Callable[[Ensemble], Ensemble],
        unfinished: Unfinished | None,
    ):
        *arrays, layout = given
        self.named, self.layout = named, layout
        mesh = () if layout.mesh is None else (*layout.mesh.shape.items(), layout.mesh.size)
        static = dataclasses.astuple(dataclasses.replace(layout, mesh=None))
        super().__init__(given, (*arrays, static, mesh), given[6], unfinished)

    def told(self, now: tuple[Crowd, Gains]) -> Told:
        return int(now[1].paths), self.layout.paths, int(now[1].failed)

    def finished(self, now: tuple[Crowd, Gains]) -> Ensemble:
        return self.named(super().finished(now))


def ensemble_in_stretches(
    given: Given,
    named: Callable[[Ensemble], Ensemble],
    progress: Any,
    checkpoint: str | os.PathLike[str] | None,
    unfinished: Unfinished | None,
) -> Ensemble:
    """`ensemble` in stretches; `named` makes of what is compiled what users get."""
    saved = None if checkpoint is None else Checkpoint(checkpoint, "ensemble", OF_ANOTHER)
    return in_stretches(Crowded(given, named, unfinished), progress, saved)
