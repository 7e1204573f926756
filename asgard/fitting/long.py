"""Long fits: what of a fit is run in stretches, shown and saved."""

import abc
import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..circuits.circuit import Circuit
from ..circuits.fields import check_count
from ..errors import CircuitError
from ..jaxprs.concrete import is_concrete, is_staged
from ..runs.stretches.checkpoint import Checkpoint, restored
from ..runs.stretches.report import Told, Words, check_progress
from ..runs.stretches.work import Work, in_stretches
from .result import FitStatus

# What errors say of a checkpoint of another fit.
OF_ANOTHER = "another start or loss, other data, another optimiser, key or batch"
# Up to this relative difference two losses are one, rounded differently by another machine.
SAME_LOSS = 1e-5


class LongFit(Work):
    """A fit, or fits side by side, of so many steps as the losses of `start` have room for.

    What the loop carries has the fields `losses` `[*batch, steps]`, `loss`, `steps` and `status`.
    `given` is all that they are of, without the number of steps: a fit may be extended.
    """

    words = Words("step", "loss")

    def __init__(self, start: Any, given: Any):
        self.start, self.given = start, given
        self.most = start.losses.shape[-1]
        self.circuit: Any = None

    @abc.abstractmethod
    def until(self, now: Any, step: Array) -> tuple[Any, Circuit]:
        """What the loop carries at a step, or at the end of the fit, and the circuit there."""

    @abc.abstractmethod
    def result(self, now: Any, status: FitStatus) -> Any:
        """What users get, if the fit has ended so."""

    def advance(self, now: Any, turns: int) -> Any:
        step = min(self.most, int(jnp.max(now.steps)) + turns)
        end, self.circuit = self.until(now, jnp.asarray(step))
        return end

    def is_done(self, now: Any) -> bool:
        return not bool(jnp.any(self._goes_on(now)))

    def told(self, now: Any) -> Told:
        return int(jnp.max(now.steps)), self.most, float(jnp.min(now.loss))

    def finished(self, now: Any) -> Any:
        return self.result(now, now.status)

    def unfinished(self, now: Any) -> Any:
        def ended(goes_on: Array, status: FitStatus) -> FitStatus:
            return FitStatus.where(goes_on, FitStatus.interrupted, status)

        goes_on = self._goes_on(now)
        many = jax.vmap(ended) if goes_on.ndim else ended
        return self.result(now, many(goes_on, now.status))

    def _goes_on(self, now: Any) -> Array:
        """Whether steps are left, of each fit."""
        return (now.steps < self.most) & (now.status == FitStatus.steps)

    def restored(self, arrays: list[np.ndarray]) -> Any:
        """What a checkpoint holds, with room for the steps of this fit; None if it is another one.

        A loss cannot be compared by its code. So the first two steps are taken again, and must give
        the losses that the file holds.
        """
        leaves, structure = jax.tree.flatten(self.start)
        if len(arrays) != len(leaves):
            return None
        models = [
            jnp.zeros(array.shape, leaf.dtype) if leaf is self.start.losses else leaf
            for array, leaf in zip(arrays, leaves, strict=True)
        ]
        found = list(map(restored, arrays, models))
        if any(leaf is None for leaf in found):
            return None
        now: Any = jax.tree.unflatten(structure, found)
        taken = int(jnp.max(now.steps))
        if taken > self.most:
            raise CircuitError(
                f"the checkpoint holds a fit of {taken} steps, and steps={self.most} are fewer: "
                f"ask for {taken} or more, or give another path"
            )
        room = jnp.full_like(self.start.losses, jnp.nan)
        count = min(now.losses.shape[-1], self.most)
        losses = room.at[..., :count].set(now.losses[..., :count])
        now = dataclasses.replace(now, losses=losses)
        until = min(2, max(1, taken))
        again = self.advance(self.start, until).losses[..., :until]
        same = np.allclose(again, now.losses[..., :until], SAME_LOSS, 0, True)
        return now if same else None


def is_long(given: Any, progress: Any, checkpoint: Any, every: Any, what: str) -> bool:
    """Whether a fit goes in stretches: if that is asked for, and nothing is traced.

    Raises `CircuitError` for wrong options.
    """
    check_progress(progress)
    if every is not None:
        check_count(what, "every", every, least=1)
    concrete = is_concrete(*jax.tree.leaves(given)) and not is_staged()
    if checkpoint is not None and not concrete:
        raise CircuitError("a fit under a JAX transformation has no checkpoint")
    return concrete and (checkpoint is not None or progress is not False)


def fit_in_stretches(
    work: LongFit,
    progress: Any,
    checkpoint: str | os.PathLike[str] | None,
    every: int | None,
) -> Any:
    """A fit in stretches, with reports and checkpoints."""
    saved = None if checkpoint is None else Checkpoint(checkpoint, "fit", OF_ANOTHER)
    return in_stretches(work, progress, saved, every)
