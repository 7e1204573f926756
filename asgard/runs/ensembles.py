"""`ensemble`: many paths of a stochastic circuit, tile by tile and device by device."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh

from ..calculi.calculus import Calculus
from ..calculi.stochastic.calculus import Stochastic
from ..calculi.stochastic.noise import Words, key_words
from ..calculi.stochastic.tiles import Reduced, key_array
from ..circuits.circuit import Circuit, as_circuit
from ..circuits.fields import check_count
from ..errors import CircuitError
from ..jaxprs.concrete import is_concrete
from .arguments import are_in_order, as_sources, as_times, check_dim, check_state
from .ensemble_result import Ensemble
from .long import is_long
from .long_ensembles import Given, Layout, ensemble_in_stretches, whole_ensemble
from .statistics import is_reduction
from .stretches.label import RunLabel
from .stretches.report import Report, check_progress
from .stretches.unfinished import taken_up

# How many paths run side by side by default: what keeps the CPU's caches, and fills a GPU.
TILE = {"cpu": 4096}
WIDE_TILE = 2**18


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
    progress: bool | Report = False,
    checkpoint: str | os.PathLike[str] | None = None,
    throw: bool = True,
) -> Ensemble:
    """Runs many paths of a circuit with noise.

    Path i agrees with `simulate(…, key=key, path=i)` up to rounding. Its bits do not depend on the
    number of paths or devices. Paths run in tiles of one width; the last tile is padded.

    **Arguments:** those of `simulate`, and

    - `key`: a JAX key of any kind; not needed where nothing is drawn.
    - `paths`: the number of paths.
    - `reduce`: a statistic of `asgard.statistics`, or a tuple or dictionary of them, kept as tiles
      run: outputs are not stored. None stores all outputs. A statistic may be of a named wire,
      `Mean("x")`; `ensemble["x"]` then reads it, and an entry of a dictionary by its key. A key
      goes before a wire of the same name.
    - `tile`: the number of paths that run side by side.
    - `mesh`: the devices to spread the paths over; they do not communicate until all are done.
      Results are on a mesh of these with automatic axes: they can be indexed and sorted.
    - `state`: the `state` of an earlier ensemble. Without `reduce`, its paths go on in time from
      `ts[0]`. With `reduce`, its statistics go on to the paths that are left, to the same bits as
      one run of all `paths`.
    - `progress`: True shows a bar (with tqdm) or lines; a function is called about twice a second
      with the paths that are done, `paths`, and how many have failed. Of paths that are under way
      those are counted that their steps would make. A traced ensemble shows nothing.
    - `checkpoint`: a file to save the ensemble to as it runs. If the file exists, the same call
      goes on from it, to the same bits.
    - `throw`: raise `SimulationError` if a path failed. The error's `ensemble` has the results.

    **Returns:** an `Ensemble`.

    **Raises:** `CircuitError` for what is wrong beforehand; `SimulationError` for failed paths;
    `Interrupted` at Ctrl-C, with `progress` or a `checkpoint`: its `result` is the ensemble so far,
    and the same call with `state=result.state` goes on.

    ```python
    ag.ensemble(circuit, ts, calculus=ag.Stochastic(steps=100), key=jax.random.key(0),
                paths=10**6, reduce=(ag.statistics.Mean(), ag.statistics.Variance()))
    ```
    """
    tile = TILE.get(jax.default_backend(), WIDE_TILE) if tile is None else tile
    circuit = as_circuit("ensemble runs", circuit)
    _check(calculus, paths, tile, mesh, reduce)
    assert isinstance(calculus, Stochastic)
    # With axes that shard_map may cut, whichever way the mesh was made.
    mesh = None if mesh is None else Mesh(mesh.devices, mesh.axis_names)
    check_dim(dim)
    times = as_times(ts)
    reductions, structure = jax.tree.flatten(reduce, is_leaf=is_reduction)
    words = None if key is None else key_words(key)
    check_progress(progress)
    state, unfinished = taken_up(state, "ensemble")
    check_state(times, state, calculus.gapless)
    calculus = calculus.settled(times).for_circuit(circuit, times)
    sources = as_sources(circuit, inputs, times)
    done, label = 0, None
    if reductions:
        # Increments that are handed in are left out: their number grows with that of the paths.
        bare = eqx.tree_at(lambda c: c.noise.increments, calculus, {})
        label = RunLabel.of(circuit, bare, times, sources, reductions)
        done = _rounds_done(state, tile, mesh, paths, words, label)
        state = None if state is None else state.progress
    layout = Layout(dim, paths, tile, mesh, done)
    given = Given(circuit, calculus, times, sources, words, tuple(reductions), state, layout)

    def named(found: Ensemble) -> Ensemble:
        """With the statistics in the form of `reduce`, and a state that says what it is of."""
        if label is None:
            return found
        statistics = jax.tree.unflatten(structure, found.statistics)
        state = dataclasses.replace(found.state, label=label)
        entries = statistics if isinstance(statistics, dict) else {}
        names = found.names | {key: kept for key, kept in entries.items() if isinstance(key, str)}
        fields = {"reduce": reduce, "statistics": statistics, "names": names, "state": state}
        return dataclasses.replace(found, **fields)

    if is_long(given, progress, checkpoint, unfinished, "an ensemble"):
        found = ensemble_in_stretches(given, named, progress, checkpoint, unfinished)
    else:
        found = named(whole_ensemble(given))
    if not is_concrete(times, getattr(state, "last", times)):
        good = are_in_order(times, state, calculus.gapless) & calculus.takes(times)
        found = found.unless_failed(good)
    return found.check() if throw else found


def _check(calculus: Any, paths: Any, tile: Any, mesh: Any, reduce: Any) -> None:
    """Raises `CircuitError` for arguments that are wrong by themselves."""
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
