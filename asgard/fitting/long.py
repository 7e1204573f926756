"""Long fits: what of a fit is run in stretches, shown and saved."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import CircuitError
from ..runs.stretches.checkpoint import restored
from ..runs.stretches.report import Told, Words
from ..runs.stretches.work import Work
from .descent import Descent, Progress, advance
from .result import Fit, FitStatus

# What errors say of a checkpoint of another fit.
OF_ANOTHER = "another start or loss, other data, another optimiser, key or batch"
# Up to this relative difference two losses are one, rounded differently by another machine.
SAME_LOSS = 1e-5


class Fitting(Work):
    """A fit of so many steps as `start` has room for."""

    words = Words("step", "loss")

    def __init__(self, descent: Descent, start: Progress):
        self.descent, self.start, self.fitted = descent, start, descent.circuit
        self.steps = len(start.losses)
        # The number of steps is left out: a fit may be extended.
        self.given = descent, start.state

    def advance(self, now: Progress, turns: int) -> Progress:
        until = min(self.steps, int(now.steps) + turns)
        end, self.fitted = advance(self.descent, now, jnp.asarray(until))
        return end

    def is_done(self, now: Progress) -> bool:
        return int(now.steps) >= self.steps or bool(now.status != FitStatus.steps)

    def told(self, now: Progress) -> Told:
        return int(now.steps), self.steps, float(now.loss)

    def finished(self, now: Progress) -> Fit:
        return Fit(self.fitted, now.losses, now.loss, now.steps, now.status, now.state)

    def unfinished(self, now: Progress) -> Fit:
        found = self.finished(now)
        if self.is_done(now):
            return found
        return dataclasses.replace(found, status=FitStatus.interrupted)

    def restored(self, arrays: list[np.ndarray]) -> Progress | None:
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
        taken = int(now.steps)
        if taken > self.steps:
            raise CircuitError(
                f"the checkpoint holds a fit of {taken} steps, and steps={self.steps} are fewer: "
                f"ask for {taken} or more, or give another path"
            )
        room = jnp.full(self.steps, jnp.nan, now.losses.dtype)
        count = min(len(now.losses), self.steps)
        now = dataclasses.replace(now, losses=room.at[:count].set(now.losses[:count]))
        until = min(2, max(1, taken))
        again = self.advance(self.start, until)
        same = np.allclose(again.losses[:until], now.losses[:until], SAME_LOSS, 0, True)
        return now if same else None
