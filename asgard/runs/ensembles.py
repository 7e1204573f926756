"""`ensemble`: many paths of a stochastic circuit, tile by tile and device by device."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Shaped, UInt

from ..calculi.calculus import Calculus
from ..calculi.stochastic.calculus import ADVICE, Stochastic, continued
from ..calculi.stochastic.failures import Failures
from ..calculi.stochastic.noise import Words, key_words
from ..calculi.stochastic.tiles import Reduced, Tiles, key_array, tiles
from ..calculi.trajectory import Outputs
from ..circuits.circuit import Circuit
from ..circuits.fields import check_count
from ..circuits.pictured import picture
from ..errors import CircuitError, SimulationError
from ..fixed_points.options import missed
from ..jaxprs.concrete import is_concrete, run_compiled
from ..jaxprs.meshes import without_mesh
from ..jaxprs.settings import default_promotion
from ..status import Status, message
from .arguments import as_sources, as_times, check_dim, check_state
from .statistics import is_reduction

# How many paths run side by side by default: what keeps the CPU's caches, and fills a GPU.
TILE = {"cpu": 4096}
WIDE_TILE = 2**18


class RunLabel(eqx.Module):
    """What tells a reduced run from another one: its structure, and a digest of its numbers.

    Functions are part of the structure, and compared by identity. The digest is 0 where a number is
    traced.
    """

    structure: Any = eqx.field(static=True)
    digest: UInt[Array | np.ndarray, " 2"]

    @classmethod
    def of(cls, circuit: Circuit, calculus: Stochastic, *others: Any) -> "RunLabel":
        """The label of a run. It leaves out increments that are handed in: their number grows with
        that of the paths."""
        options = eqx.tree_at(lambda c: c.noise.increments, calculus, {})
        leaves, structure = jax.tree.flatten((circuit, options, others))
        if not is_concrete(*leaves):
            return cls(structure, np.zeros(2, np.uint32))
        digest = hashlib.sha256()
        for leaf in map(np.asarray, leaves):
            digest.update(f"{leaf.dtype}{leaf.shape}".encode() + leaf.tobytes())
        return cls(structure, np.frombuffer(digest.digest()[:8], np.uint32))

    def agrees(self, other: "RunLabel") -> bool:
        """Whether these may be of one run, as far as their numbers are known."""
        if self.structure != other.structure:
            return False
        if not is_concrete(self.digest, other.digest):
            return True
        digests = np.asarray(self.digest), np.asarray(other.digest)
        return not all(map(np.any, digests)) or np.array_equal(*digests)


class Ensemble(Outputs):
    """What `ensemble` returns.

    - `ts`: the times, `[times]`.
    - `outputs`: without `reduce`, one array `[paths, times, *value]` for each output wire, NaN from
      a path's end on.
    - `names`: the wires named by `Var`, likewise; `ensemble["name"]` reads them.
    - `reduce`, `statistics`: what `reduce` asked for, and its result, of the same structure.
    - `failed`, `survivors`: how many paths ended, at a value that is not finite or at a loop
      without a fixed point, and how many did not. Statistics rest on the survivors, a biased
      sample.
    - `first_bad`, `status`: without `reduce`, each path's first bad step, -1 where it has none, and
      how it ended.
    - `failures`: how many paths ended and how many of them at a loop; the first one, its step, and
      the index of the state atom or of the loop.
    - `state`: hands the run on to a later `ensemble`: in time, or to more paths with `reduce`.
    """

    ts: Float[Array, " times"]
    outputs: tuple[Shaped[Array, "..."], ...]
    names: dict[str, Shaped[Array, "..."]]
    statistics: Any
    paths: UInt[Array, ""]
    first_bad: Int[Array, " paths"] | None
    status: Status | None
    failures: Failures
    time_of_failure: Float[Array, ""]
    state: Any
    wires: tuple[str, ...] = eqx.field(static=True)
    loops: tuple[str, ...] = eqx.field(static=True)
    reduce: Any = None

    @property
    def failed(self) -> Array:
        """How many paths have ended."""
        return self.failures.count

    @property
    def survivors(self) -> Array:
        """How many paths have not, on which all statistics rest."""
        return self.paths - self.failures.count

    def check(self) -> "Ensemble":
        """Raises `SimulationError` where a path failed; returns the ensemble otherwise.

        The error has the ensemble as its `ensemble`. Under a trace there is nothing to check yet,
        and nothing is raised.
        """
        count = self.failures.count
        if not is_concrete(count) or not np.any(np.asarray(count)):
            return self
        error = self._error()
        error.ensemble = self
        raise error

    def plot(
        self,
        *names: str,
        quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
        paths: int = 5,
        ax: Any = None,
        units: Mapping[str, str] | None = None,
    ) -> Any:
        """Draws a fan for each wire: quantiles at each time as bands, and some paths.

        Quantiles are of the paths that have not ended by then. With `reduce` what was kept at each
        time is drawn: quantiles, the mean, with the variance a band of two standard deviations
        about it, and the least and the greatest.

        **Arguments:** those of `Trajectory.plot`, and

        - `names`: with `reduce`, the names of functions `of`, or `"output"`.
        - `quantiles`: the probabilities, drawn in pairs from outside in.
        - `paths`: how many of the first paths are drawn.

        **Returns:** the axes.

        **Raises:** as `Trajectory.plot`, and `CircuitError` for statistics that are not over time
        and for more wires than colours.
        """
        options = {"quantiles": quantiles, "paths": paths, "ax": ax, "units": units}
        return picture("ensemble.plot", self, *names, **options)

    def _repr_html_(self) -> str:
        return picture("ensemble.html", self)

    def _error(self) -> SimulationError:
        """What the failed paths raise."""
        count = self.failures.count
        if count.ndim:
            return SimulationError(
                f"nonfinite in {int(jnp.sum(count))} paths: try {ADVICE}", "nonfinite"
            )
        wire, loop = int(self.failures.state), int(self.failures.loop)
        name, advice = "nonfinite", f"try {ADVICE}"
        where = f"in {self.wires[wire]}"
        if loop >= 0:
            iterations, residual = int(self.failures.iterations), float(self.failures.residual)
            name, advice = "not_converged", message("not_converged")
            where = f"as {missed(self.loops[loop], iterations, residual)}"
        counts = {"nonfinite": int(count) - int(self.failures.unsolved)}
        counts["not_converged"] = int(self.failures.unsolved)
        several = " and ".join(f"{how} in {n}" for how, n in counts.items() if n)
        return SimulationError(
            f"{several} of {int(self.paths)} paths, the first of them path "
            f"{int(self.failures.path)} at t = {float(self.time_of_failure):.6g}, step "
            f"{int(self.failures.step)}, {where}; its other paths are untouched. With "
            f"throw=False they are returned; {advice}",
            name,
        )


def ensemble(
    circuit: Circuit,
    ts: Any,
    *,
    inputs: Sequence[Any] = (),
    calculus: Calculus,
    key: Any = None,
    paths: int,
    reduce: Any = None,
    tile: int | None = None,
    mesh: Mesh | None = None,
    dim: str | None = None,
    state: Any = None,
    throw: bool = True,
) -> Ensemble:
    """Runs many paths of a circuit with noise.

    Path i agrees with `simulate(…, key=key, path=i)` up to rounding. Its bits do not depend on the
    number of paths or devices. Paths run in tiles of one width; the last tile is padded.

    **Arguments:** those of `simulate`, and

    - `key`: a JAX key of any kind; not needed where nothing is drawn.
    - `paths`: the number of paths.
    - `reduce`: a statistic of `asgard.statistics`, or a tuple or dictionary of them, kept as tiles
      run: outputs are not stored. None stores all outputs.
    - `tile`: the number of paths that run side by side.
    - `mesh`: the devices to spread the paths over; they do not communicate until all are done.
    - `state`: the `state` of an earlier ensemble. Without `reduce`, its paths go on in time from
      `ts[0]`. With `reduce`, its statistics go on to the paths that are left, to the same bits as
      one run of all `paths`.
    - `throw`: raise `SimulationError` if a path failed. The error's `ensemble` has the results.

    **Returns:** an `Ensemble`.

    **Raises:** `CircuitError` for what is wrong beforehand; `SimulationError` for failed paths.

    ```python
    ag.ensemble(circuit, ts, calculus=ag.Stochastic(steps=100), key=jax.random.key(0),
                paths=10**6, reduce=(ag.statistics.Mean(), ag.statistics.Variance()))
    ```
    """
    tile = TILE.get(jax.default_backend(), WIDE_TILE) if tile is None else tile
    _check(circuit, calculus, paths, tile, mesh, reduce)
    assert isinstance(calculus, Stochastic)
    # With axes that shard_map may cut, whichever way the mesh was made.
    mesh = None if mesh is None else Mesh(mesh.devices, mesh.axis_names)
    check_dim(dim)
    times = as_times(ts)
    reductions, structure = jax.tree.flatten(reduce, is_leaf=is_reduction)
    words = None if key is None else key_words(key)
    check_state(times, state, calculus.gapless)
    calculus, sources = calculus.settled(times), as_sources(circuit, inputs, times)
    done, label = 0, None
    if reductions:
        label = RunLabel.of(circuit, calculus, times, sources, reductions)
        done = _rounds_done(state, tile, mesh, paths, words, label)
        state = None if state is None else state.progress
    static = (dim, paths, tile, mesh, done)
    arguments = (circuit, calculus, times, sources, words, tuple(reductions), state, *static)
    found = run_compiled(_compiled, _run, *arguments)
    if label is not None:
        statistics = jax.tree.unflatten(structure, found.statistics)
        kept = dataclasses.replace(found.state, label=label)
        found = dataclasses.replace(found, reduce=reduce, statistics=statistics, state=kept)
    return found.check() if throw else found


def _check(circuit: Any, calculus: Any, paths: Any, tile: Any, mesh: Any, reduce: Any) -> None:
    """Raises `CircuitError` for arguments that are wrong by themselves."""
    if not isinstance(circuit, Circuit):
        raise CircuitError(f"ensemble runs a circuit, not {circuit!r}")
    if not isinstance(calculus, Stochastic):
        raise CircuitError(f"ensemble runs under Stochastic, not {calculus!r:.60}")
    check_count("ensemble", "paths", paths, least=1, most=2**32 - 1)
    check_count("ensemble", "tile", tile, least=1)
    if not all(map(is_reduction, jax.tree.leaves(reduce, is_leaf=is_reduction))):
        raise CircuitError(f"reduce takes statistics such as statistics.Mean(), not {reduce!r}")
    if not isinstance(mesh, Mesh | None):
        raise CircuitError(f"ensemble: mesh must be a jax.sharding.Mesh, not {mesh!r}")
    for name, given in calculus.noise.increments.items():
        if given.ndim == 0 or given.shape[0] != paths:
            raise CircuitError(
                f"noise: the increments of {name} must have a row for each of the {paths} paths, "
                f"[paths, steps, *value], not the shape {given.shape}"
            )


@default_promotion()
def _run(
    circuit: Circuit,
    calculus: Stochastic,
    ts: Array,
    sources: tuple[Any, ...],
    words: Words | None,
    reductions: tuple[Any, ...],
    state: Any,
    dim: str | None,
    paths: int,
    width: int,
    mesh: Mesh | None,
    done: int,
) -> Ensemble:
    """The ensemble; `width` is that of its tiles, of which `done` rounds are in the state."""
    make = tiles(calculus, circuit, ts, sources, dim)
    probe = make(words, jnp.zeros(1, jnp.uint32))
    pointwise = probe.equation.pointwise
    times = ts.astype(pointwise.time_dtype)
    run = Tiles(make, times, words, paths, width, mesh)
    if reductions:
        statistics, end, failures = run.reduced(reductions, state, done)
        found = {"outputs": (), "names": {}, "first_bad": None, "status": None}
    else:
        stored = run.stored(None if state is None else continued(probe, state, paths))
        statistics, end, failures = None, stored.end, stored.failures
        found = {k: getattr(stored, k) for k in ("outputs", "names", "first_bad", "status")}
    return Ensemble(
        ts=ts,
        statistics=statistics,
        paths=jnp.asarray(paths, jnp.uint32),
        failures=failures,
        time_of_failure=probe.steps.times(times, failures.step),
        state=end,
        wires=pointwise.wire_names,
        loops=pointwise.cut.loop_names,
        **found,
    )


_compiled = jax.jit(without_mesh(_run), static_argnums=range(7, 12))


def _rounds_done(
    state: Any, tile: int, mesh: Mesh | None, paths: int, words: Words | None, label: RunLabel
) -> int:
    """How many rounds of tiles a reduced run's state holds. Raises for a state of another run."""
    if state is None:
        return 0
    devices = 1 if mesh is None else mesh.size
    if not isinstance(state, Reduced) or not is_concrete(state.rounds, state.width):
        raise CircuitError(
            f"with reduce, state is that of an earlier reduced ensemble, and known: not {state!r}"
        )
    before = len(state.progress.started)
    if int(state.width) != tile or before != devices:
        raise CircuitError(
            f"the state is that of tiles of {int(state.width)} paths on {before} devices; go on "
            f"with the same, not with {tile} on {devices}"
        )
    done = int(state.rounds)
    if done * tile * devices > paths:
        raise CircuitError(
            f"the state holds {done * tile * devices} paths: paths counts these too, so it must be "
            f"at least that, not {paths}"
        )
    given = key_array(words)
    if is_concrete(given, state.words) and not np.array_equal(given, state.words):
        raise CircuitError(
            "the state belongs to another key, and its paths cannot be joined with these"
        )
    if state.label is None or not state.label.agrees(label):
        raise CircuitError(
            "the state is that of another run: of another circuit, other numbers or functions, "
            "other times, steps, options or statistics. Functions are compared by identity, so "
            "define each once and hand over the same one"
        )
    return done
