"""Long runs: what of `simulate` is run in stretches, shown and saved."""

import dataclasses
import os
from typing import Any

import jax
from jaxtyping import Array

from ..calculi.calculus import Calculus, check_trajectory
from ..calculi.real.calculus import Real
from ..calculi.stretches import Stretches
from ..calculi.trajectory import Trajectory
from ..circuits.circuit import Circuit
from ..errors import CircuitError
from ..jaxprs.compiling import Jit
from ..jaxprs.concrete import is_concrete, is_staged, runs_eagerly
from ..jaxprs.own_functions import check_takes, traceable
from ..jaxprs.settings import default_promotion
from .stretches.checkpoint import Checkpoint
from .stretches.compiled import Carried, LongRun, Programs
from .stretches.report import Told, Words
from .stretches.unfinished import Unfinished
from .stretches.work import in_stretches

# What errors say of a checkpoint of another run.
OF_ANOTHER = (
    "another circuit, other numbers, times, inputs or options, or another version of JAX or Asgard"
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Given:
    """What a run over times is given."""

    circuit: Circuit
    calculus: Calculus
    ts: Any
    sources: tuple[Any, ...]
    state: Any
    dim: str | None = dataclasses.field(metadata={"static": True})

    def run(self) -> Trajectory:
        """All of the run, inside a trace."""
        what, simulate = f"{type(self.calculus).__name__}.simulate", self.calculus.simulate
        check_takes(what, simulate, "circuit", "ts", "inputs", "dim", "state")
        with traceable(what):
            found = simulate(*self._arguments)
        return self.checked(found)

    def stretches(self) -> Stretches[Any]:
        """The run as a loop that stops and goes on, inside a trace."""
        return self.calculus.stretches(*self._arguments)

    def checked(self, found: Any) -> Trajectory:
        """What the calculus returned, if that is a trajectory of the circuit."""
        check_trajectory(self.calculus, self.circuit, self.ts, found)
        return found

    @property
    def _arguments(self) -> tuple[Any, ...]:
        return self.circuit, self.ts, self.sources, self.dim, self.state


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
def _blank(given: Given) -> Carried:
    stretches = given.stretches()
    loop = stretches.blank()
    return Carried(loop, stretches.stand(loop))


@default_promotion()
def _advance(given: Given, loop: Any, turns: Array) -> Carried:
    stretches = given.stretches()
    loop = stretches.advance(loop, turns)
    return Carried(loop, stretches.stand(loop))


@default_promotion()
def _read(given: Given, loop: Any) -> Trajectory:
    return given.checked(given.stretches().read(loop))


class Simulated(LongRun):
    """A run over times. Where it stands is a `Stand`."""

    programs = Programs(_blank, _advance, _read, Jit)
    what = "run"

    def __init__(self, given: Given, unfinished: Unfinished | None):
        self.words = Words("time", "steps", float(given.ts[0]))
        super().__init__(given, given, unfinished)

    def told(self, now: Carried) -> Told:
        return float(now.stand.reached), float(self.arguments.ts[-1]), int(now.stand.steps)


def simulate_in_stretches(
    given: Given,
    progress: Any,
    checkpoint: str | os.PathLike[str] | None,
    unfinished: Unfinished | None,
) -> Trajectory:
    """`simulate` with these arguments, in stretches."""
    if checkpoint is not None and isinstance(given.calculus, Real) and runs_eagerly(given):
        raise CircuitError(
            "checkpoint: under jax.disable_jit SciPy integrates a run of Real, in one stretch, and "
            "none of it can be gone on with: leave the checkpoint out there"
        )
    saved = None if checkpoint is None else Checkpoint(checkpoint, "run", OF_ANOTHER)
    return in_stretches(Simulated(given, unfinished), progress, saved)
