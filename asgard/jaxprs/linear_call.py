"""Calls that are linear in some operands, as derivatives are; and chains of calls."""

import abc
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad
from jaxtyping import Array

from .flags import Avals, Flags, flagged, in_lanes, inexact, merge
from .lane_call import LaneCall, Run, bind


class LinearCall(LaneCall):
    """A call that is linear in some operands, so that reverse mode transposes it."""

    def apart(
        self, laned: Flags, size: int, before: Flags, count: int
    ) -> "tuple[LinearCall, Callable[[Sequence[Any]], tuple[Any, ...]]] | None":
        """The call that stands for this one in a batch, and which of the operands are its own;
        None where this one does. The arguments are those of `in_batch`."""
        return None

    @abc.abstractmethod
    def plain(self, *operands: Any) -> list[Any]:
        """The results without lanes, by a loop that has all derivatives: slow but complete."""

    @abc.abstractmethod
    def transpose(
        self, cotangents: Sequence[Any], operands: Sequence[Any], laned: Flags, size: int
    ) -> list[Array]:
        """The cotangents of the operands that are unknown, with lanes, from those of the results,
        which may be symbolic zeros."""

    def differentiate(
        self, primals: Sequence[Any], tangents: Sequence[Any], laned: Flags, size: int
    ) -> tuple[list[Array], list[Any]]:
        moving = tuple(not isinstance(tangent, ad.Zero) for tangent in tangents)
        operands = [*primals, *flagged(moving, tangents)]
        derivatives = bind(Pushed(self, moving), operands, (*laned, *flagged(moving, laned)), size)
        return bind(self, primals, laned, size), derivatives


class Chain(LinearCall):
    """Calls one after the other, as one.

    Each tile goes through all of them: what one hands on to the next has the lanes of a tile, and
    is never joined to an array of all lanes.
    """

    @abc.abstractmethod
    def in_turn(self, run: Run, operands: Sequence[Any], laned: Flags, size: int) -> list[Array]:
        """The results of the last call, where `run` gives those of any."""

    def compiled(
        self, run: Run, operands: Sequence[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        # What is chosen while it runs has no derivatives.
        return self.in_turn(run, operands, laned, size)

    def room(self, avals: Avals) -> list[Any]:
        return []

    def loop(
        self, room: list[Any], operands: list[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        return self.in_turn(bind, operands, laned, size)

    def differentiate(
        self, primals: Sequence[Any], tangents: Sequence[Any], laned: Flags, size: int
    ) -> tuple[list[Array], list[Any]]:
        moving = tuple(not isinstance(tangent, ad.Zero) for tangent in tangents)

        def run(*values: Any) -> list[Array]:
            return self.in_turn(bind, merge(moving, values, primals), laned, size)

        results, derivatives = jax.jvp(run, flagged(moving, primals), flagged(moving, tangents))
        flags = [jnp.issubdtype(x.dtype, jnp.inexact) for x in results]
        return results, flagged(flags, derivatives)


class Pushed(LinearCall):
    """The derivatives of a call's inexact results, by the tangents of those operands that move.

    Its operands are those of the call, and the tangents.
    """

    def __init__(self, call: LinearCall, moving: Flags):
        self.call, self.moving = call, moving

    @property
    def tile(self) -> int:
        return self.call.tile

    def in_batch(
        self, operands: Sequence[Any], laned: Flags, size: int, before: Flags, count: int
    ) -> list[Array]:
        known = len(self.moving)
        found = self.call.apart(laned[:known], size, before[:known], count)
        if found is None:
            return bind(self, operands, laned, size)
        call, own = found
        primals = in_lanes(operands[:known], laned[:known], size)
        dots = in_lanes(operands[known:], laned[known:], size)
        still = [ad.Zero(jax.typeof(x).to_tangent_aval()) for x in primals]
        tangents = merge(self.moving, dots, still)
        primals, flags = own(primals), (True,) * len(own(primals))
        return call.differentiate(primals, own(tangents), flags, size)[1]

    def outline(self, avals: Avals) -> list[Any]:
        return inexact(self.call.outline(avals[: len(self.moving)]))

    def room(self, avals: Avals) -> list[Any]:
        return 2 * self.call.room(avals[: len(self.moving)])

    def loop(
        self, room: list[Any], operands: list[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        count, half = len(self.moving), len(room) // 2
        known, flags = operands[:count], laned[:count]
        # A primal has lanes if it moves, since its tangent can have them where it has none.
        primals = in_lanes(flagged(self.moving, known), flagged(self.moving, flags), size)
        tangents = in_lanes(operands[count:], laned[count:], size)
        flags = [f or (moves and size > 0) for f, moves in zip(flags, self.moving, strict=True)]

        def run(room: list[Any], values: list[Any]) -> list[Any]:
            whole = merge(self.moving, values, known)
            return inexact(self.call.loop(room, whole, flags, size, kernel))

        return jax.jvp(run, (room[:half], primals), (room[half:], tangents))[1]

    def plain(self, *operands: Any) -> list[Any]:
        count = len(self.moving)
        values = flagged(self.moving, operands[:count])
        return jax.jvp(self._moved(operands[:count]), values, list(operands[count:]))[1]

    def transpose(
        self, cotangents: Sequence[Any], operands: Sequence[Any], laned: Flags, size: int
    ) -> list[Array]:
        count = len(self.moving)

        def pull(cotangents: list[Any], *known: Any) -> list[Any]:
            return list(jax.vjp(self._moved(known), *flagged(self.moving, known))[1](cotangents))

        if size:
            axes = (-1, *(-1 if flag else None for flag in laned[:count]))
            pull = jax.vmap(pull, in_axes=axes, out_axes=-1)
        return pull([ad.instantiate_zeros(dot) for dot in cotangents], *operands[:count])

    def _moved(self, operands: Sequence[Any]) -> Any:
        """From the operands that move to the call's inexact results."""
        return lambda *values: inexact(self.call.plain(*merge(self.moving, values, operands)))
