"""Long work: a compiled loop that is run in stretches, with reports and checkpoints between them.

A stretch is a call of one compiled program, which is told how many turns of its loop to take. So
nothing is called on the host inside of it, and the results are those of a run without stretches.
"""

import abc
import contextlib
import time
from typing import Any

import jax
import numpy as np

from ...errors import Interrupted
from ...jaxprs.settings import nonfinite_allowed
from .checkpoint import Checkpoint, restored
from .ctrl_c import held_back
from .report import Told, Words, shown

# How long a stretch is to last, in seconds.
LENGTH = 0.5
# By how much the turns of a stretch grow at most from one to the next.
GROWTH = 32
# The most turns of a stretch, which are counted in 32 bits.
MOST_TURNS = 2**30


class Work(abc.ABC):
    """What runs in stretches. `now`, a pytree of arrays, is what the loop carries.

    A stretch may use up the arrays of the `now` that it is given, but for those of `start`.
    """

    words: Words
    # What the run was given, as a pytree, and the program as text where that can be had: by their
    # digest a checkpoint knows the run that it is of.
    given: Any
    start: Any

    @abc.abstractmethod
    def advance(self, now: Any, turns: int) -> Any:
        """What the loop carries after so many turns more, or at its end."""

    @abc.abstractmethod
    def is_done(self, now: Any) -> bool:
        """Whether the loop has ended."""

    @abc.abstractmethod
    def told(self, now: Any) -> Told:
        """What is reported."""

    @abc.abstractmethod
    def finished(self, now: Any) -> Any:
        """The result, once the loop has ended."""

    @abc.abstractmethod
    def unfinished(self, now: Any) -> Any:
        """The result so far, with a state to go on from."""

    def program(self) -> str:
        """The compiled program as text; empty where it is compared otherwise."""
        return ""

    def restored(self, arrays: list[np.ndarray]) -> Any:
        """What a checkpoint holds as what the loop carries, None where it does not fit."""
        leaves, structure = jax.tree.flatten(self.start)
        found = [restored(array, leaf) for array, leaf in zip(arrays, leaves, strict=False)]
        if len(arrays) != len(leaves) or any(leaf is None for leaf in found):
            return None
        return jax.tree.unflatten(structure, found)


class Pace:
    """How many turns a stretch takes: so many as `every` says, or as last about `LENGTH`."""

    def __init__(self, every: int | None):
        self.every, self.turns, self.compiled = every, every or 1, False

    def stretch(self, work: Work, now: Any) -> Any:
        """One stretch from `now`."""
        began = time.perf_counter()
        now = jax.block_until_ready(work.advance(now, self.turns))
        if self.every is None and self.compiled:
            lasted = max(time.perf_counter() - began, 1e-6)
            turns = self.turns * min(GROWTH, LENGTH / lasted)
            self.turns = int(min(max(turns, 1), MOST_TURNS))
        self.compiled = True
        return now


def in_stretches(
    work: Work, progress: Any, checkpoint: Checkpoint | None, every: int | None = None
) -> Any:
    """Runs some work to its end, with a report and a checkpoint after each stretch.

    **Arguments:** `every` is how many turns a stretch takes; None for as many as last about half a
    second.

    **Returns:** the result.

    **Raises:** `Interrupted` at Ctrl-C, with what the last stretch left.
    """
    pace = Pace(every)
    with shown(progress, work.words) as report:
        now = begun = work.start if checkpoint is None else checkpoint.resume(work)
        is_whole = True
        try:
            while True:
                # The first one compiles, which may take long, and loses nothing if it is cut off.
                with contextlib.nullcontext() if now is begun else held_back():
                    is_whole = False
                    now, is_whole = pace.stretch(work, now), True
                done = work.is_done(now)
                if checkpoint is not None:
                    checkpoint.follow(now, surely=done or every is not None)
                if report is not None:
                    report(*work.told(now))
                if done:
                    return work.finished(now)
        except KeyboardInterrupt as error:
            # A stretch that is cut off by a second Ctrl-C may have begun to write over `now`.
            if now is begun or not is_whole:
                raise
            if checkpoint is not None:
                checkpoint.follow(now, surely=True)
            raise _interrupted(work, now, checkpoint) from error


def _interrupted(work: Work, now: Any, checkpoint: Checkpoint | None) -> Interrupted:
    """What Ctrl-C raises."""
    # What was not reached is NaN.
    with nonfinite_allowed():
        result = work.unfinished(now)
    ways = [] if getattr(result, "state", None) is None else ["`result.state`"]
    if checkpoint is not None:
        ways.append(f"the same call from {checkpoint.path}")
    further = f"; {' or '.join(ways)} goes on from there" if ways else ""
    where = work.words.said(*work.told(now))
    return Interrupted(
        f"interrupted {where}; `result` is what there is so far{further}",
        result,
    )
