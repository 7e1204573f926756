"""The failures of many paths: how many, and the first of them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt

from ...status import Status
from ..convergence import facts
from .tile import Paths

_NONE = np.uint32(2**32 - 1)

# What to try where a path has ended.
ADVICE = (
    "more steps, a method of higher order or a drift-implicit form of the equation, or a state "
    "that stays in its domain by construction (the logarithm of a price, a truncated variance); at "
    "a JumpRegister, a larger most, which bounds the jumps of a step, and a rate that is not "
    "negative"
)


class Failures(eqx.Module):
    """How many paths ended, and at which path, step and wire the first one by number did.

    - `count`, `unsolved`: how many ended, and how many of these at a loop without a solution.
    - `path`, `step`: the number of the first path that ended, and its step.
    - `state`: the index of the state atom that was not finite, past the last that of an output.
    - `loop`: the index of the loop that was not solved, -1 where all were; its `iterations`, and
      its `residual`.
    """

    count: UInt[Array, "*batch"]
    unsolved: UInt[Array, "*batch"]
    path: UInt[Array, "*batch"]
    step: Int[Array, "*batch"]
    state: Int[Array, "*batch"]
    loop: Int[Array, "*batch"]
    iterations: Int[Array, "*batch"]
    residual: Float[Array, "*batch"]

    @classmethod
    def none(cls, rows: int) -> "Failures":
        """No failures, `[rows]`."""
        zero = jnp.zeros(rows, jnp.int32)
        count, path = zero.astype(jnp.uint32), jnp.full(rows, _NONE, jnp.uint32)
        residual = zero.astype(jnp.float32)
        return cls(count, count, path, zero, zero, zero - 1, zero, residual)

    @classmethod
    def of(cls, end: Paths, paths: Array, bad: Array, counted: Array) -> "Failures":
        """The failures of one tile, `[]`.

        `paths` are the numbers of its paths, `bad` the step at which each ended, -1 where it did
        not, and `counted` says which are no padding: all `[paths]`.
        """
        failed = (bad >= 0) & counted
        first = jnp.argmax(failed)
        unsolved = failed & unsolved_paths(end)
        loop, iterations, residual = jnp.int32(-1), jnp.int32(0), jnp.float32(0)
        if end.solves is not None:
            own = jax.tree.map(lambda rows: rows[first][None], end.solves)
            said = facts(own, own.failed)
            loop = jnp.where(unsolved[first], said["loop"], -1).astype(jnp.int32)
            iterations = said["iterations"].astype(jnp.int32)
            residual = said["residual"].astype(jnp.float32)
        return cls(
            count=jnp.sum(failed, dtype=jnp.uint32),
            unsolved=jnp.sum(unsolved, dtype=jnp.uint32),
            path=jnp.where(failed[first], paths[first], _NONE),
            step=bad[first].astype(jnp.int32),
            state=broken(end, first),
            loop=loop,
            iterations=iterations,
            residual=residual,
        )

    def folded(self) -> "Failures":
        """The failures of all rows, `[]`."""
        first = jnp.argmin(self.path)
        count, unsolved = (jnp.sum(x, dtype=jnp.uint32) for x in (self.count, self.unsolved))
        found = jax.tree.map(lambda row: row[first], self)
        return dataclasses.replace(found, count=count, unsolved=unsolved)

    @property
    def are_of_none(self) -> Bool[Array, ""]:
        """Whether paths count as ended of which none did by itself: those at times out of order."""
        return jnp.any((self.count > 0) & (self.path == _NONE))

    def merged(self, other: "Failures") -> "Failures":
        """The failures of both."""
        return jax.tree.map(lambda a, b: jnp.stack([a, b]), self, other).folded()


def broken(end: Paths, path: Array) -> Array:
    """The index of the state atom at which one of the paths ended, past the last of an output."""
    bad = [~jnp.all(jnp.isfinite(jnp.take(part, path, axis=0))) for part in end.contents]
    index = jnp.argmax(jnp.stack([*bad, jnp.ones((), bool)]))
    output = jnp.take(end.output, path)
    return jnp.where(index < len(bad), index, len(bad) + output).astype(jnp.int32)


def bad_steps(start: Paths, end: Paths) -> Array:
    """The step of a run at which each path ended, -1 where it did not."""
    return jnp.where(end.alive, -1, jnp.maximum(end.good - start.taken, 0))


def unsolved_paths(end: Paths) -> Array:
    """Which paths ended at a loop that was not solved."""
    if end.solves is None:
        return jnp.zeros(end.good.shape, bool)
    return jnp.any(end.solves.failed, axis=1)


def status(ended: Array, unsolved: Array) -> Status:
    """How paths ended, from whether they did, and at a loop."""
    how = Status.where(unsolved, Status.not_converged, Status.nonfinite)
    return Status.where(ended, how, Status.ok)
