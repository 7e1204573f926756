"""Some turns of a run's loop as one call, which stops between two tries of a step."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from ...jaxprs.flags import Avals, Flags
from ...jaxprs.lane_call import LaneCall, bind
from . import runs
from .derivatives import arguments_of
from .integral import Integral
from .problem import Arguments, Problem
from .runs import Carried, Run
from .system import Point


class Going(eqx.Module):
    """Where the loop of a run stands between two stretches; zeros if it has not `begun`.

    - `carried`: the leaves of what it carries. Its structure holds what each trace makes anew.
    - `is_kernel`: whether the loop is one.
    """

    begun: Bool[Array, ""]
    carried: tuple[Array, ...]
    is_kernel: Bool[Array, ""]


def types_of_stretches(problem: Problem, flat: Sequence[Array]) -> Carried:
    """The types of what the loop of a run carries."""
    arguments: Arguments = jax.tree.unflatten(problem.leaves, flat)

    def carried(ts: Array, begin: Point) -> Carried:
        return Carried(
            runs.blank(problem, ts, begin), jnp.zeros((), bool), jnp.zeros((), jnp.int32)
        )

    return jax.eval_shape(carried, arguments.ts, arguments.begin)


def blank(problem: Problem, flat: Sequence[Array]) -> Going:
    """What stands for a loop that has not begun."""
    types = jax.tree.leaves(types_of_stretches(problem, flat))
    no = jnp.zeros((), bool)
    return Going(no, tuple(jnp.zeros(x.shape, x.dtype) for x in types), no)


def stretch(problem: Problem, flat: Sequence[Array], going: Going, turns: Array) -> Going:
    """So many turns more of a run's loop, which may be a kernel as the whole run is."""
    call = Stretch(problem, jax.tree.structure(types_of_stretches(problem, flat)))
    *found, is_kernel = bind(call, [*flat, *going.carried, going.begun, turns])
    return Going(jnp.ones((), bool), tuple(found), is_kernel)


def run_of(problem: Problem, flat: Sequence[Array], going: Going) -> Run:
    """The run as far as it is."""
    structure = jax.tree.structure(types_of_stretches(problem, flat))
    return jax.tree.unflatten(structure, going.carried).run


class Stretch(LaneCall):
    """Some turns of a run's loop. Its operands are those of the run, what the loop carries, whether
    it has begun, and how many turns. It has no lanes and no derivatives."""

    reports_kernel = True

    def __init__(self, problem: Problem, structure: Any):
        self.problem, self.structure, self.integral = problem, structure, Integral(problem)

    @property
    def longest(self) -> int | None:
        return self.integral.longest

    @property
    def tile(self) -> int:
        return self.integral.tile

    def outline(self, avals: Avals) -> list[Any]:
        found = avals[self.problem.leaves.num_leaves : -2]
        types = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in found]
        return [*types, jax.ShapeDtypeStruct((), bool)]

    def room(self, avals: Avals) -> list[Any]:
        return []

    def loop(
        self, room: list[Any], operands: list[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        count = self.problem.leaves.num_leaves
        arguments = arguments_of(self.problem, operands[:count])
        flags = arguments_of(self.problem, laned[:count])
        *leaves, begun, turns = operands[count:]
        now = jax.tree.unflatten(self.structure, leaves)
        now = runs.stretch(self.problem, arguments, flags, now, begun, turns, scatter=not kernel)
        return jax.tree.leaves(now)

    def differentiate(self, primals: Any, tangents: Any, laned: Flags, size: int) -> Any:
        raise NotImplementedError("a stretch of a run is not differentiated")
