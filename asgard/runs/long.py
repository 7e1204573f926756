"""Long runs: what of `simulate` is run in stretches, shown and saved."""

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxlib import version as jaxlib_version
from jaxtyping import Array

from ..calculi.calculus import Calculus, check_trajectory
from ..calculi.stretches import Stand
from ..calculi.trajectory import Trajectory
from ..circuits.circuit import Circuit
from ..errors import CircuitError
from ..jaxprs.concrete import is_concrete, is_staged, run_compiled
from ..jaxprs.meshes import without_mesh
from ..jaxprs.settings import default_promotion
from .stretches.checkpoint import Checkpoint
from .stretches.label import RunLabel
from .stretches.report import Told, Words
from .stretches.unfinished import Unfinished, check_same
from .stretches.work import Work, in_stretches

# What errors say of a checkpoint of another run.
OF_ANOTHER = (
    "another circuit, other numbers, times, inputs or options, or another version of JAX or Asgard"
)

Given = tuple[Circuit, Calculus, Array, tuple[Any, ...], Any, str | None]


def is_long(
    given: Any, progress: Any, checkpoint: Any, unfinished: Unfinished | None, what: str
) -> bool:
    """Whether a run goes in stretches: if that is asked for, and nothing is traced."""
    asked = progress is not False or checkpoint is not None or unfinished is not None
    concrete = asked and is_concrete(*jax.tree.leaves(given)) and not is_staged()
    if checkpoint is not None and not concrete:
        raise CircuitError(f"{what} under a JAX transformation has no checkpoint")
    if unfinished is not None and not concrete:
        raise CircuitError(f"{what} that was interrupted goes on outside of JAX transformations")
    return concrete


def program_of(lowered: Any) -> str:
    """A program as text, with what compiles it and the device that it is for: others round
    otherwise."""
    device = jax.devices()[0]
    by = (jax.__version__, jaxlib_version.__version__, device.platform, device.device_kind)
    return "\n".join([*by, lowered.as_text()])


def simulate_in_stretches(
    given: Given,
    progress: Any,
    checkpoint: str | os.PathLike[str] | None,
    unfinished: Unfinished | None,
) -> Trajectory:
    """`simulate` with these arguments, in stretches."""
    saved = None if checkpoint is None else Checkpoint(checkpoint, "run", OF_ANOTHER)
    return in_stretches(Simulated(given, unfinished), progress, saved)


class Simulated(Work):
    """A run over times. What its loop carries stands beside a `Stand`."""

    def __init__(self, given: Given, unfinished: Unfinished | None):
        self.given, times = given, given[2]
        self.words = Words("time", "steps", float(times[0]))
        if unfinished is not None:
            check_same(unfinished, self.label, "run")
            self.start = unfinished.now
            return
        types = _blank_compiled.eval_shape(*given)
        self.start = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), types)

    @property
    def label(self) -> RunLabel:
        """Which run it is."""
        return RunLabel.of(*self.given)

    def advance(self, now: tuple[Any, Stand], turns: int) -> tuple[Any, Stand]:
        more = now[0], jnp.asarray(turns, jnp.int32)
        return run_compiled(_advance_compiled, _advance, *self.given, *more)

    def is_done(self, now: tuple[Any, Stand]) -> bool:
        return bool(now[1].ended)

    def told(self, now: tuple[Any, Stand]) -> Told:
        return float(now[1].reached), float(self.given[2][-1]), int(now[1].steps)

    def finished(self, now: tuple[Any, Stand]) -> Trajectory:
        return run_compiled(_read_compiled, _read, *self.given, now[0])

    def unfinished(self, now: tuple[Any, Stand]) -> Trajectory:
        found = self.finished(now)
        return dataclasses.replace(found, state=Unfinished(now, self.given[4], self.label))

    def program(self) -> str:
        more = self.start[0], jnp.asarray(0, jnp.int32)
        return program_of(_advance_compiled.lower(*self.given, *more))


@default_promotion()
def _blank(
    circuit: Circuit, calculus: Calculus, ts: Array, sources: Any, state: Any, dim: str | None
) -> tuple[Any, Stand]:
    stretches = calculus.stretches(circuit, ts, sources, dim, state)
    now = stretches.blank()
    return now, stretches.stand(now)


@default_promotion()
def _advance(
    circuit: Circuit,
    calculus: Calculus,
    ts: Array,
    sources: Any,
    state: Any,
    dim: str | None,
    now: Any,
    turns: Array,
) -> tuple[Any, Stand]:
    stretches = calculus.stretches(circuit, ts, sources, dim, state)
    # Under `jax.disable_jit` the zeros of a start are NumPy's.
    now = stretches.advance(jax.tree.map(jnp.asarray, now), turns)
    return now, stretches.stand(now)


@default_promotion()
def _read(
    circuit: Circuit,
    calculus: Calculus,
    ts: Array,
    sources: Any,
    state: Any,
    dim: str | None,
    now: Any,
) -> Trajectory:
    found = calculus.stretches(circuit, ts, sources, dim, state).read(now)
    check_trajectory(calculus, circuit, ts, found)
    return found


# Traced for its types alone, once.
_blank_compiled = jax.jit(_blank, static_argnums=5)
_advance_compiled = jax.jit(without_mesh(_advance), static_argnums=5)
_read_compiled = jax.jit(without_mesh(_read), static_argnums=5)
