"""Long runs: what of `simulate` is run in stretches, shown and saved."""

import os
from typing import Any

import jax
from jaxtyping import Array

from ..calculi.calculus import Calculus, check_trajectory
from ..calculi.real.calculus import Real
from ..calculi.stretches import Stand
from ..calculi.trajectory import Trajectory
from ..circuits.circuit import Circuit
from ..errors import CircuitError
from ..jaxprs.concrete import is_concrete, is_staged, runs_eagerly
from ..jaxprs.settings import default_promotion
from .stretches.checkpoint import Checkpoint
from .stretches.compiled import LongRun, Programs
from .stretches.report import Told, Words
from .stretches.unfinished import Unfinished
from .stretches.work import in_stretches

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
    now = stretches.advance(now, turns)
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


_PROGRAMS = Programs(_blank, _advance, _read, 5)


class Simulated(LongRun):
    """A run over times. Where it stands is a `Stand`."""

    programs = _PROGRAMS
    what = "run"

    def __init__(self, given: Given, unfinished: Unfinished | None):
        self.times = given[2]
        self.words = Words("time", "steps", float(self.times[0]))
        super().__init__(given, given, given[4], unfinished)

    def told(self, now: tuple[Any, Stand]) -> Told:
        return float(now[1].reached), float(self.times[-1]), int(now[1].steps)


def simulate_in_stretches(
    given: Given,
    progress: Any,
    checkpoint: str | os.PathLike[str] | None,
    unfinished: Unfinished | None,
) -> Trajectory:
    """`simulate` with these arguments, in stretches."""
    if checkpoint is not None and isinstance(given[1], Real) and runs_eagerly(given):
        raise CircuitError(
            "checkpoint: under jax.disable_jit SciPy integrates a run of Real, in one stretch, and "
            "none of it can be gone on with: leave the checkpoint out there"
        )
    saved = None if checkpoint is None else Checkpoint(checkpoint, "run", OF_ANOTHER)
    return in_stretches(Simulated(given, unfinished), progress, saved)
