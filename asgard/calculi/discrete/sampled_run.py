"""A run over samples, at once or in stretches."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..pointwise import Row
from ..scanned import Scanned, blank, rows_a_turn, stretch
from ..stretches import Stand, Stretches, unended
from ..trajectory import Trajectory
from .sequence import Samplewise, Sequence


class SampledRun(Stretches[Scanned]):
    """A run over samples."""

    def __init__(self, sequence: Sequence, ts: Array, count: int, state: Any):
        self.sequence, self.ts, self.count = sequence, ts, count
        self.first = jnp.round(ts[0]).astype(int)
        self.given = sequence.given(self.first, count)
        begins = state is None
        self.start = sequence.begin(self.first, self.given) if begins else sequence.checked(state)

    def whole(self) -> Trajectory:
        """All samples, in one go."""
        # The last sample is read, and not yet summed: the run goes on from there.
        _, end, rows, kernel = self.sequence.run(self.start, self.count, self.given)
        return self.trajectory(end, rows, kernel)

    def trajectory(
        self, end: Samplewise, rows: Row, kernel: Array, done: Array | None = None
    ) -> Trajectory:
        """What all samples give, or those that are done."""
        ts, count = self.ts, self.count
        numbers = ts[0] + jnp.arange(count, dtype=ts.dtype)
        rows, status, stats = rows.judged(numbers, done)
        outputs, names = rows.outputs, rows.names
        if ts.shape[0] < count:
            found = jnp.round(ts).astype(int) - self.first
            outputs, names = jax.tree.map(lambda rows: rows[found], (outputs, names))
        return Trajectory(
            ts=ts,
            outputs=outputs,
            names=names,
            status=status,
            stats={**stats, "kernel": kernel},
            state=dataclasses.replace(end, last=numbers[-1]),
            loops=self.sequence.cut.loop_names,
            wires=self.sequence.cut.output_names,
        )

    def blank(self) -> Scanned:
        return blank(self._some, self._begin, self.count)

    def advance(self, now: Scanned, turns: Array) -> Scanned:
        size = rows_a_turn(self.start.contents, self.count)
        return stretch(self._some, self._begin, self.count, size, now, turns)

    def stand(self, now: Scanned) -> Stand:
        last = jnp.maximum(now.done - 1, 0)
        return Stand(now.done == self.count, self.ts[0] + last.astype(self.ts.dtype), last)

    def read(self, now: Scanned) -> Trajectory:
        rows = self.sequence.pointwise.row(*now.rows)
        _, end, kernel = now.carry
        return unended(self.trajectory(end, rows, kernel, now.done), now.done == self.count)

    @property
    def _begin(self) -> tuple[Samplewise, Samplewise, Array]:
        return self.start, self.start, jnp.zeros((), bool)

    def _some(self, carry: Any, first: Array, size: int) -> tuple[Any, Any]:
        """Some samples from number `first` of the run on: the wires that are shown, each once, and
        how loops were solved."""
        given = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, size), self.given)
        after, before, rows, kernel = self.sequence.run(carry[0], size, given)
        return (after, before, kernel), (self.sequence.pointwise.shown(rows), rows.solves)
