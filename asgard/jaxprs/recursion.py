"""Recursions: scans whose rows are small, each as one kernel on the CPU.

`recur` is `lax.scan`. XLA runs the body of a scan one operation at a time, and each costs many
times the arithmetic of a small value: a filter of order 6 written in scalars takes 0.5 µs a sample,
and 12 ns as a kernel.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.interpreters import ad
from jaxtyping import Array, Bool

from . import small_algebra
from .flags import Avals, Flags, flagged, in_lanes, inexact, merge
from .hoisting import EXPANSIONS
from .lane_call import bind
from .lanes import run_in_lanes
from .linear_call import LinearCall
from .primitives import Kernel, traits
from .program import all_equations, computed, from_jaxpr

# A short body stands in a kernel's loop so many times, which lets the values of one row stay in
# registers until the next: a filter in scalars takes 7 ns a sample in place of 12.
UNROLL = 4
# What is a short body, in equations.
SHORT = 80
# Rows of all lanes run as one kernel: tiles would move them twice.
ANY_COUNT = 1 << 30

Body = Callable[[Any, Any], tuple[Any, Any]]


def recur(
    body: Body, carry: Any, rows: Any, length: int
) -> tuple[tuple[Any, Any], Bool[Array, ""]]:
    """`lax.scan(body, carry, rows, length)`, as a kernel where the body qualifies.

    **Returns:** what `lax.scan` does, and whether it ran as a kernel.
    """
    if length == 0 or jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
        return lax.scan(body, carry, rows, length=length), jnp.zeros((), bool)
    types = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), carry)
    row_types = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rows)
    closed, shapes = jax.make_jaxpr(body, return_shape=True)(types, row_types)
    given, found = jax.tree.leaves(types), jax.tree.leaves(shapes[0])
    alike = [(x.shape, x.dtype) for x in given] == [(x.shape, x.dtype) for x in found]
    if not alike or not _qualifies(closed):
        return lax.scan(body, carry, rows, length=length), jnp.zeros((), bool)
    constants = list(map(jnp.asarray, closed.consts))
    call = Recursion(_with_constants_first(closed), len(constants), len(given), length)
    *results, is_kernel = bind(call, [*constants, *jax.tree.leaves((carry, rows))])
    return jax.tree.unflatten(jax.tree.structure(shapes), results), is_kernel


def _qualifies(closed: ClosedJaxpr) -> bool:
    """Whether a body may be a part of a kernel, and is one whose derivatives are those of its
    operations."""
    if closed.effects:
        return False
    program = small_algebra.expanded(computed(closed))
    names = {equation.name for equation in program.equations}
    with_own_rules = {one.primitive.name for one in all_equations(closed.jaxpr)}
    return not any("custom_vjp" in name for name in with_own_rules) and all(
        name in EXPANSIONS or name == "dot_general" or traits(name).kernel is not Kernel.NEVER
        for name in names
    )


def _with_constants_first(closed: ClosedJaxpr) -> ClosedJaxpr:
    """A jaxpr whose constants are its first inputs."""
    jaxpr = closed.jaxpr
    invars = [*jaxpr.constvars, *jaxpr.invars]
    names = jaxpr.debug_info.with_unknown_names()
    return ClosedJaxpr(jaxpr.replace(constvars=[], invars=invars, debug_info=names), ())


class Recursion(LinearCall):
    """A scan over rows.

    Its operands are constants, the first carry and the rows; its results the last carry and the
    rows of outputs. With `linear`, one flag an operand, it is linear in those operands, with all
    of the carry among them.
    """

    reports_kernel = True

    def __init__(
        self,
        body: ClosedJaxpr,
        constants: int,
        carries: int,
        length: int,
        reverse: bool = False,
        linear: Flags = (),
    ):
        self.body, self.constants, self.carries = body, constants, carries
        self.length, self.reverse, self.linear = length, reverse, linear

    @property
    def tile(self) -> int:
        return ANY_COUNT

    def split(self, operands: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """The constants, the carry and the rows among the operands, or what is said of each."""
        last = self.constants + self.carries
        return (
            list(operands[: self.constants]),
            list(operands[self.constants : last]),
            list(operands[last:]),
        )

    def outline(self, avals: Avals) -> list[Any]:
        carry = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in self._out_avals[0]]
        return [*carry, *self.room(avals), jax.ShapeDtypeStruct((), bool)]

    def room(self, avals: Avals) -> list[Any]:
        outs = self._out_avals[1]
        return [jax.ShapeDtypeStruct((self.length, *x.shape), x.dtype) for x in outs]

    def loop(
        self, room: list[Any], operands: list[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        program = from_jaxpr(self.body)
        if kernel:
            program = small_algebra.expanded(program)
        constants, carry, rows = self.split(operands)
        of_constants, of_carry, of_rows = self.split(laned)
        flags = [*of_constants, *(size > 0,) * len(carry), *of_rows]

        def turn(carry: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
            values = zip([*constants, *carry, *row], flags, strict=True)
            found = run_in_lanes(program, list(values), size)
            found = in_lanes([x for x, _ in found], [flag for _, flag in found], size)
            return found[: len(carry)], found[len(carry) :]

        carry = in_lanes(carry, of_carry, size)
        if not kernel:
            carry, outs = lax.scan(turn, carry, rows, length=self.length, reverse=self.reverse)
            return [*carry, *outs]

        def one(state: tuple[Any, list[Any], list[Any]]) -> tuple[Any, list[Any], list[Any]]:
            count, carry, room = state
            at = self.length - 1 - count if self.reverse else count
            row = [lax.dynamic_index_in_dim(x, at, 0, keepdims=False) for x in rows]
            carry, outs = turn(carry, row)
            pairs = zip(room, outs, strict=True)
            written = [lax.dynamic_update_index_in_dim(x, out, at, 0) for x, out in pairs]
            return count + 1, carry, written

        def until(end: int, count: int, state: Any) -> Any:
            """Goes on to row `end`, so many rows a turn."""

            def turns(state: Any) -> Any:
                for _ in range(count):
                    state = one(state)
                return state

            return lax.while_loop(lambda state: state[0] < end, turns, state)

        state = jnp.zeros((), jnp.int32), carry, room
        if not size and len(program.equations) <= SHORT:
            state = until(self.length - self.length % UNROLL, UNROLL, state)
        _, carry, outs = until(self.length, 1, state)
        return [*carry, *outs]

    def plain(self, *operands: Any) -> list[Any]:
        return self.loop([], list(operands), (False,) * len(operands), 0, False)

    def differentiate(
        self, primals: Sequence[Any], tangents: Sequence[Any], laned: Flags, size: int
    ) -> tuple[list[Array], list[Any]]:
        moving = tuple(not isinstance(tangent, ad.Zero) for tangent in tangents)
        recorded = bind(self._recording(), primals, laned, size)
        results, path = recorded[: -1 - self.carries], recorded[-1 - self.carries : -1]
        constants, _, rows = self.split(primals)
        of_constants, of_carry, of_rows = self.split(laned)
        constants_move, _, rows_move = self.split(moving)
        d_constants, d_carry, d_rows = self.split(tangents)
        first = [*constants, *flagged(constants_move, d_constants)]
        start = inexact([ad.instantiate_zeros(x) for x in d_carry])
        last = [*path, *rows, *flagged(rows_move, d_rows)]
        kinds = [jnp.issubdtype(x.dtype, jnp.inexact) for x in self.split(self.body.in_avals)[1]]
        flags = (
            *(*of_constants, *flagged(constants_move, of_constants)),
            *flagged(kinds, of_carry),
            *((size > 0,) * len(path)),
            *(*of_rows, *flagged(rows_move, of_rows)),
        )
        call = self._pushed(constants_move, kinds, rows_move)
        *derivatives, _ = bind(call, [*first, *start, *last], flags, size)
        return [*results, recorded[-1]], derivatives

    def transpose(
        self, cotangents: Sequence[Any], operands: Sequence[Any], laned: Flags, size: int
    ) -> list[Array]:
        dots = [ad.instantiate_zeros(dot) for dot in cotangents[:-1]]
        call = self._pulled()
        linear = self.split(self.linear)
        constants, _, rows = self.split(operands)
        of_constants, _, of_rows = self.split(laned)
        fixed = [tuple(not flag for flag in flags) for flags in linear]
        sums = [
            jnp.zeros(aval.shape, aval.dtype)
            for aval in flagged(linear[0], self.split(self.body.in_avals)[0])
        ]
        values = [
            *flagged(fixed[0], constants),
            *(*dots[: self.carries], *sums),
            *(*flagged(fixed[2], rows), *dots[self.carries :]),
        ]
        flags = (
            *flagged(fixed[0], of_constants),
            *(*(size > 0,) * self.carries, *(False,) * len(sums)),
            *(*flagged(fixed[2], of_rows), *(size > 0,) * (len(dots) - self.carries)),
        )
        *found, _ = bind(call, values, flags, size)
        carry, more = found[: self.carries], found[self.carries :]
        whole = [*more[: len(sums)], *carry, *more[len(sums) :]]
        # Of those that it is linear in, some may be known: their tangent is zero.
        unknown = [ad.is_undefined_primal(x) for x in flagged(self.linear, operands)]
        return flagged(unknown, whole)

    @property
    def _out_avals(self) -> tuple[list[Any], list[Any]]:
        avals = list(self.body.out_avals)
        return avals[: self.carries], avals[self.carries :]

    @property
    def _run(self) -> Callable[..., list[Any]]:
        return jaxpr_as_fun(self.body)

    def _recording(self) -> "Recursion":
        """The same, with the carry before each row as further outputs."""

        def body(*values: Any) -> list[Any]:
            return [*self._run(*values), *self.split(values)[1]]

        closed = jax.make_jaxpr(body)(*self.body.in_avals)
        return self._alike(closed, self.constants, self.carries)

    def _pushed(self, constants: Flags, carry: Flags, rows: Flags) -> "Recursion":
        """From the tangents of the operands that move to those of the inexact results."""
        avals = self.split(self.body.in_avals)
        flags = (constants, carry, rows)
        moved = [flagged(ones, of) for ones, of in zip(flags, avals, strict=True)]
        counts = [len(avals[0]), len(moved[0]), len(moved[1]), len(avals[1]), len(avals[2])]
        moving = (*constants, *carry, *rows)

        def body(*values: Any) -> list[Any]:
            fixed, d_fixed, d_carry, path, row, d_row = _cut(values, counts)
            known = [*fixed, *path, *row]

            def run(*values: Any) -> list[Any]:
                return inexact(self._run(*merge(moving, values, known)))

            return jax.jvp(run, flagged(moving, known), [*d_fixed, *d_carry, *d_row])[1]

        kinds = (avals[0], moved[0], moved[1], avals[1], avals[2], moved[2])
        closed = jax.make_jaxpr(body)(*(aval for part in kinds for aval in part))
        linear = tuple(
            flag
            for part, flag in zip(kinds, (False, True, True, False, False, True), strict=True)
            for _ in part
        )
        first, count = counts[0] + counts[1], counts[2]
        return self._alike(closed, first, count, linear=linear)

    def _pulled(self) -> "Recursion":
        """From the cotangents of the results to those of the operands it is linear in.

        The carry holds the cotangents of the carry, and the sums of those of the constants.
        """
        linear, avals = self.split(self.linear), self.split(self.body.in_avals)
        fixed = [tuple(not flag for flag in flags) for flags in linear]
        moved = [flagged(flags, of) for flags, of in zip(linear, avals, strict=True)]
        still = [flagged(flags, of) for flags, of in zip(fixed, avals, strict=True)]
        outs = self._out_avals[1]
        counts = [len(still[0]), self.carries, len(moved[0]), len(still[2])]

        def body(*values: Any) -> list[Any]:
            constants, dots, sums, row, more = _cut(values, counts)

            def run(moved_constants: Any, carry: Any, moved_row: Any) -> list[Any]:
                whole = [
                    *merge(linear[0], moved_constants, _spaced(fixed[0], constants)),
                    *carry,
                    *merge(linear[2], moved_row, _spaced(fixed[2], row)),
                ]
                return self._run(*whole)

            zeros = [[jnp.zeros(x.shape, x.dtype) for x in of] for of in moved]
            d_constants, d_carry, d_row = jax.vjp(run, *zeros)[1]([*dots, *more])
            return [*d_carry, *map(jnp.add, sums, d_constants), *d_row]

        kinds = (*still[0], *self._out_avals[0], *moved[0], *still[2], *outs)
        closed = jax.make_jaxpr(body)(*kinds)
        return self._alike(closed, counts[0], counts[1] + counts[2], reverse=not self.reverse)

    def _alike(
        self,
        body: ClosedJaxpr,
        constants: int,
        carries: int,
        reverse: bool | None = None,
        linear: Flags = (),
    ) -> "Recursion":
        direction = self.reverse if reverse is None else reverse
        return Recursion(body, constants, carries, self.length, direction, linear)


def _cut(values: Sequence[Any], counts: Sequence[int]) -> list[list[Any]]:
    """The values in groups: so many each, and the rest."""
    found, start = [], 0
    for count in counts:
        found.append(list(values[start : start + count]))
        start += count
    return [*found, list(values[start:])]


def _spaced(flags: Flags, values: Sequence[Any]) -> list[Any]:
    """One entry for each flag: the next value where it is set, else None."""
    return merge(flags, values, [None] * len(flags))
