"""The compiled programs of `ensemble`: as a whole, and in stretches that are shown and saved."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array

from ..calculi.stochastic.calculus import Stochastic
from ..calculi.stochastic.failures import Failures
from ..calculi.stochastic.long import Crowd, Gains, LongTiles
from ..calculi.stochastic.noise import Words
from ..calculi.stochastic.path_run import continued
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
from .stretches.compiled import Carried, LongRun, Programs
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


class Given(eqx.Module):
    """What an ensemble is given; `words` are those of its key."""

    circuit: Circuit
    calculus: Stochastic
    ts: Array
    sources: tuple[Any, ...]
    words: Words | None
    reductions: tuple[Any, ...]
    state: Any
    layout: Layout = eqx.field(static=True)

    def tiles(self) -> tuple[Tiles, Tile]:
        """The tiles, and one of one path, by which things are known of all."""
        layout, words = self.layout, self.words
        make = tiles(self.calculus, self.circuit, self.ts, self.sources, layout.dim)
        probe = make(words, jnp.zeros(1, jnp.uint32))
        times = self.ts.astype(probe.equation.pointwise.time_dtype)
        return Tiles(make, times, words, layout.paths, layout.width, layout.mesh), probe

    def start(self, probe: Tile) -> Any:
        """Where paths start that go on in time; None where they begin."""
        return None if self.state is None else continued(probe, self.state, self.layout.paths)

    def long(self) -> tuple[LongTiles, Tile]:
        """The tiles of a run in stretches, and one of one path."""
        run, probe = self.tiles()
        if self.reductions:
            begin = run.begun(self.reductions, self.state)
            return LongTiles(run, self.reductions, begin, self.layout.done, None), probe
        return LongTiles(run, (), None, 0, self.start(probe)), probe


def whole_ensemble(given: Given) -> Ensemble:
    """`ensemble` as one program."""
    return run_compiled(_run_compiled, _run, given)


def _of_statistics(
    given: Given, probe: Tile, statistics: Any, state: Any, failures: Failures, paths: Any
) -> Ensemble:
    """The ensemble of so many paths that were reduced."""
    cut = probe.equation.pointwise.cut
    only = cut.output_names[0] if len(cut.graph.outputs) == 1 else None
    names = by_wire(given.reductions, statistics, only if only in cut.named else None)
    found = {"outputs": (), "names": names, "first_bad": None, "status": None}
    return _ensemble(given, probe, failures, paths, statistics=statistics, state=state, **found)


def _of_paths(given: Given, probe: Tile, stored: Stored) -> Ensemble:
    """The ensemble of paths that are stored."""
    found = {k: getattr(stored, k) for k in ("outputs", "names", "first_bad", "status")}
    paths = given.layout.paths
    return _ensemble(
        given, probe, stored.failures, paths, statistics=None, state=stored.end, **found
    )


def _ensemble(given: Given, probe: Tile, failures: Failures, paths: Any, **found: Any) -> Ensemble:
    pointwise, ts = probe.equation.pointwise, given.ts
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
def _run(given: Given) -> Ensemble:
    run, probe = given.tiles()
    if given.reductions:
        found = run.reduced(given.reductions, given.state, given.layout.done)
        return _of_statistics(given, probe, *found, given.layout.paths)
    return _of_paths(given, probe, run.stored(given.start(probe)))


@default_promotion()
def _blank(given: Given) -> Carried:
    long, _ = given.long()
    crowd = long.blank()
    return Carried(crowd, long.gains(crowd))


@default_promotion()
def _advance(given: Given, crowd: Crowd, turns: Array) -> Carried:
    long, _ = given.long()
    crowd = long.advance(crowd, turns)
    return Carried(crowd, long.gains(crowd))


@default_promotion()
def _read(given: Given, crowd: Crowd) -> Ensemble:
    long, probe = given.long()
    if long.reductions:
        return _of_statistics(given, probe, *long.statistics(crowd))
    stored, done = long.stored(crowd)
    how = jax.vmap(lambda done, how: Status.where(done, how, Status.interrupted))(
        done, stored.status
    )
    return _of_paths(given, probe, dataclasses.replace(stored, status=how))


_run_compiled = jax.jit(without_mesh(_run))


class Crowded(LongRun):
    """An ensemble. Where it stands are `Gains`."""

    programs = Programs(_blank, _advance, _read, jax.jit)
    what = "ensemble"
    words = Said("path", "failed")

    def __init__(
        self,
        given: Given,
        named: Callable[[Ensemble], Ensemble],
        unfinished: Unfinished | None,
    ):
        layout = given.layout
        self.named = named
        mesh = () if layout.mesh is None else (*layout.mesh.shape.items(), layout.mesh.size)
        static = dataclasses.replace(layout, mesh=None)
        told_by = dataclasses.replace(given, layout=static), dataclasses.astuple(static), mesh
        super().__init__(given, told_by, unfinished)

    def told(self, now: Carried) -> Told:
        stand: Gains = now.stand
        return int(stand.paths), self.arguments.layout.paths, int(stand.failed)

    def finished(self, now: Carried) -> Ensemble:
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
