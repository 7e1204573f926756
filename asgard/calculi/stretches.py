"""A run over times as a loop that stops and goes on, for progress and checkpoints."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..status import Status
from .trajectory import Trajectory

Now = TypeVar("Now")


class Stand(eqx.Module):
    """Where a run stands: whether it has ended, the time that it reached, and its steps."""

    ended: Bool[Array, ""]
    reached: Float[Array, ""]
    steps: Int[Array, ""]


class Stretches(abc.ABC, Generic[Now]):
    """A run as a loop that stops after some turns and goes on later, inside of a trace.

    `now` is what the loop carries from one stretch to the next, a pytree of arrays.
    """

    @abc.abstractmethod
    def blank(self) -> Now:
        """What the loop carries before its first turn."""

    @abc.abstractmethod
    def advance(self, now: Now, turns: Array) -> Now:
        """What it carries after so many turns more, or at its end."""

    @abc.abstractmethod
    def stand(self, now: Now) -> Stand:
        """Where the run stands."""

    @abc.abstractmethod
    def read(self, now: Now) -> Trajectory:
        """What there is so far."""


class Whole(eqx.Module):
    """A run that is one stretch: its trajectory, zeros where it has not `ended`."""

    trajectory: Trajectory
    ended: Bool[Array, ""]


class OneStretch(Stretches[Whole]):
    """A run that stops nowhere: one turn is all of it."""

    def __init__(self, run: Callable[[], Trajectory], ts: Array):
        self.run, self.ts = run, ts

    def blank(self) -> Whole:
        types = jax.eval_shape(self.run)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), types)
        return Whole(zeros, jnp.zeros((), bool))

    def advance(self, now: Whole, turns: Array) -> Whole:
        del now, turns
        return Whole(self.run(), jnp.ones((), bool))

    def stand(self, now: Whole) -> Stand:
        stats, first = now.trajectory.stats, self.ts[0]
        reached = stats.get("reached", self.ts[-1]).astype(first.dtype)
        steps = jnp.asarray(stats.get("steps", 0), jnp.int32)
        return Stand(now.ended, jnp.where(now.ended, reached, first), steps)

    def read(self, now: Whole) -> Trajectory:
        return now.trajectory


def unended(trajectory: Trajectory, ended: Array) -> Trajectory:
    """A trajectory whose status says where its run was interrupted."""
    status = Status.where(ended, trajectory.status, Status.interrupted)
    return dataclasses.replace(trajectory, status=status)
