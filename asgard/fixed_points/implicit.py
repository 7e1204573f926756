"""The fixed point of a function as one JAX primitive: its value by a loop, its derivatives without.

z = g(a, z) gives (1 - J) dz = g_a da, with the Jacobian J of g along z at the fixed point (the
implicit function theorem). So the tangent is one linear solve, whatever the loop did: reverse mode
transposes that solve, and keeps nothing of the iterations. Second derivatives differentiate the
solve, in which z is again the value of this primitive.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.interpreters import ad
from jaxtyping import Array

from ..jaxprs.flags import Avals, Flags, in_lanes, inexact
from ..jaxprs.kernel import LARGEST_SUM, as_kernel
from ..jaxprs.lane_call import LaneCall, bind, lane_primitive
from ..jaxprs.lanes import run_in_lanes, spread
from ..jaxprs.program import Program, from_jaxpr, trace
from .jacobian import jacobian
from .layout import Layout
from .linear import DENSE, SMALL, add_to_diagonal, iterative_solve, solve
from .methods.method import CONVERGED, Equations, Method, Outcome
from .options import FixedPoint
from .rounding import Scale, SolveControl, largest
from .search import search

# How many results say how a solve went: those of `Facts`.
FACTS = 3
# How many lanes are solved side by side on the CPU, at most: each tile stops by itself.
TILE = 64
# How many operands come after the guesses: the numbers of a `FixedPoint`.
NUMBERS = 4


class Facts(NamedTuple):
    """How a solve went: the turns taken, the largest magnitude of g(z) - z, and whether it
    converged."""

    turns: Array
    residual: Array
    converged: Array


# Its own primitive, for which there is a series rule. A run that is a kernel holds the loop itself.
_fixed_point = lane_primitive("asgard_fixed_point", part_of_kernels=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Loop(LaneCall):
    """The static part of a fixed point.

    `body` is (a, z) -> (g(a, z), others), of flat lists. z is `unknowns` arrays; `others` are
    wanted at the fixed point besides z. `wires` are the wires of z's entries: those of one are
    measured in one unit. Operands are a, the guess of z and the numbers of a
    `FixedPoint`; results are z, the others and the facts.
    """

    body: ClosedJaxpr
    unknowns: int
    method: Method
    wires: tuple[int, ...]

    primitive = _fixed_point

    @property
    def tile(self) -> int:
        """Each tile stops by itself, and its Jacobians fit into a kernel."""
        return max(1, min(TILE, (LARGEST_SUM - 1) // self.layout.size**2))

    @property
    def ins(self) -> int:
        """How many arrays a is."""
        return len(self.body.in_avals) - self.unknowns

    @functools.cached_property
    def avals(self) -> list[jax.ShapeDtypeStruct]:
        """The types of a and z."""
        return [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in self.body.in_avals]

    @property
    def z_avals(self) -> list[jax.ShapeDtypeStruct]:
        """The types of z."""
        return self.avals[self.ins :]

    @functools.cached_property
    def run(self) -> Callable[..., list[Any]]:
        """The body as a function."""
        return jaxpr_as_fun(self.body)

    @functools.cached_property
    def layout(self) -> "Layout":
        """How z is laid out as a vector."""
        return Layout(tuple(self.z_avals))

    @functools.cached_property
    def program(self) -> Program:
        """The body as a program."""
        return from_jaxpr(self.body)

    @functools.cached_property
    def slopes(self) -> Program | None:
        """The Jacobian as a program of (a, z); None where it is not to be formed."""
        if self.layout.size > DENSE:
            return None

        def run(*values: Any) -> tuple[Array]:
            fixed, z = values[: self.ins], values[self.ins :]
            return (self.jacobian(fixed, z),)

        return trace(run, *self.avals)

    def jacobian(self, fixed: Sequence[Any], z: Sequence[Any]) -> Array:
        """The Jacobian of g along z, `[unknowns, unknowns]`."""
        layout = self.layout

        def g(z: Sequence[Any]) -> Array:
            return layout.pack(self.run(*fixed, *z)[: self.unknowns])

        if layout.size > SMALL:
            return jacobian(lambda vector: g(layout.unpack(vector)), layout.pack(z))

        # Entry by entry, as a kernel takes no products of matrices and no constant arrays.
        def column(index: int, unit: Array) -> Array:
            def along(one: Any) -> Array:
                return g([*z[:index], one, *z[index + 1 :]])

            return jax.jvp(along, (z[index],), (unit,))[1]

        return jnp.stack([column(*entry) for entry in layout.units()], axis=1)

    def outline(self, avals: Avals) -> list[Any]:
        others = self.body.out_avals[self.unknowns :]
        facts = [((), jnp.int32), ((), self.layout.dtype), ((), jnp.bool_)]
        types = [*((aval.shape, aval.dtype) for aval in (*self.z_avals, *others)), *facts]
        return [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in types]

    def room(self, avals: Avals) -> list[Any]:
        return []

    def loop(
        self, room: list[Any], operands: list[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        layout, slopes = self.layout, self.slopes
        fixed = list(zip(operands, laned, strict=True))[: self.ins]
        rest = in_lanes(operands[self.ins :], laned[self.ins :], size)
        guess, numbers = rest[: self.unknowns], rest[self.unknowns :]

        def run(program: Program, z: Array) -> list[Array]:
            inputs = [*fixed, *((array, size > 0) for array in layout.unpack(z))]
            results = run_in_lanes(program, inputs, size)
            return [spread(one, size) if size else one[0] for one in results]

        equations = Equations(
            lambda z: layout.pack(run(self.program, z)[: self.unknowns]),
            None if slopes is None else lambda z: run(slopes, z)[0],
            Scale(np.array(self.wires), SolveControl(*numbers)),
        )
        # With many unknowns Newton's steps and the check of the solution call a library. They are
        # rarely needed, and keep all from being one kernel.
        compiled = _as_kernel if kernel and layout.size > SMALL else lambda run, guess: run(guess)
        found = search(self.method, equations, layout.pack(guess), compiled)
        converged = found.state == CONVERGED
        residual = largest(found.residual)
        values = [*layout.unpack(found.z), *run(self.program, found.z)[self.unknowns :]]
        values = [jnp.where(converged, value, jnp.nan).astype(value.dtype) for value in values]
        return [*values, found.steps, residual, converged]

    def differentiate(
        self, primals: Sequence[Any], tangents: Sequence[Any], laned: Flags, size: int
    ) -> tuple[list[Array], list[Any]]:
        """By the implicit function theorem. There are no derivatives in the guess."""
        values = bind(self, primals, laned, size)
        moving = [
            index
            for index, dot in enumerate(tangents[: self.ins])
            if not isinstance(dot, ad.Zero) and jnp.issubdtype(primals[index].dtype, jnp.inexact)
        ]
        if not moving:
            return values, [_zero(value) for value in inexact(values)]
        fixed, converged = list(primals[: self.ins]), values[-1]
        # A lane without a solution has derivatives of 0 at its guess. NaN would spread in reverse
        # mode, where a cotangent of 0 times NaN is NaN.
        last = self.ins + self.unknowns
        guess = in_lanes(primals[self.ins : last], laned[self.ins : last], size)
        z = [jnp.where(converged, *pair) for pair in zip(values, guess, strict=False)]

        def one(fixed: Any, z: Any, dots: Any, converged: Array) -> list[Array]:
            return self._tangents(fixed, z, moving, dots, converged)

        if size:
            axes = [-1 if flag else None for flag in laned[: self.ins]]
            moving_axes = [axes[index] for index in moving]
            in_axes = (axes, [-1] * self.unknowns, moving_axes, -1)
            one = jax.vmap(one, in_axes=in_axes, out_axes=-1, axis_size=size)
        dots = one(fixed, z, [tangents[index] for index in moving], converged)
        return values, [*dots, *map(_zero, inexact(values[-FACTS:]))]

    def _tangents(
        self,
        fixed: Sequence[Any],
        z: Sequence[Any],
        moving: Sequence[int],
        dots: Sequence[Any],
        converged: Array,
    ) -> list[Array]:
        """The derivatives of the inexact ones among z and the others, if `fixed[moving[i]]` moves
        by `dots[i]`; 0 where z is no solution."""
        layout, unknowns = self.layout, self.unknowns

        def run(changing: Sequence[Any], z: Sequence[Any]) -> list[Any]:
            values = list(fixed)
            for index, value in zip(moving, changing, strict=True):
                values[index] = value
            return self.run(*values, *z)

        changing = [fixed[index] for index in moving]
        _, push = jax.linearize(run, changing, list(z))
        still = [jnp.zeros(aval.shape, aval.dtype) for aval in self.z_avals]
        stays = list(map(jnp.zeros_like, changing))

        def along(changes: Sequence[Any], vector: Array) -> Array:
            pushed = push(list(changes), layout.unpack(vector))[:unknowns]
            return jnp.where(converged, layout.pack(pushed), 0)

        right = along(dots, layout.pack(still))
        if layout.size > DENSE:
            moved = lax.custom_linear_solve(
                lambda s: s - along(stays, s), right, iterative_solve, iterative_solve
            )
        else:
            slopes = jnp.where(converged, self.jacobian(fixed, z), 0)
            moved = solve(add_to_diagonal(-slopes, 1.0), right)
        found = layout.unpack(moved)
        others = push(list(dots), found)[unknowns:]
        found += [dot for dot in others if jnp.issubdtype(dot.dtype, jnp.inexact)]
        return [jnp.where(converged, dot, 0) for dot in found]


def fixed_point(
    fn: Callable[..., Sequence[Any]],
    arguments: Sequence[Any],
    guess: Sequence[Any],
    options: FixedPoint,
    wires: Sequence[int] | None = None,
) -> tuple[list[Array], Facts]:
    """The z at which fn(*arguments, *z) begins with z.

    **Arguments:** fn(*arguments, *z) returns arrays of the types of z, and then others; `guess` is
    the z to start from. `wires` are those of z's real numbers, as a `Layout` has them: by default
    each array of z is a wire.

    **Returns:** z and the others, NaN where the search did not converge, and how it went.
    """
    avals = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in map(jnp.asarray, [*arguments, *guess])]
    closed = jax.make_jaxpr(fn)(*avals)
    # What the body closes over are arguments too: they have derivatives.
    constants, inputs = closed.jaxpr.constvars, closed.jaxpr.invars
    body = ClosedJaxpr(closed.jaxpr.replace(constvars=(), invars=(*constants, *inputs)), ())
    layout = Layout(tuple(avals[len(arguments) :]))
    of_wire = tuple(layout.wires.tolist() if wires is None else wires)
    loop = Loop(body, len(guess), options.method, of_wire)
    dtype = layout.dtype
    if layout.size == 0:
        facts = Facts(jnp.zeros((), jnp.int32), jnp.zeros((), dtype), jnp.ones((), bool))
        return list(fn(*arguments, *guess)), facts
    numbers = [jnp.asarray(x, dtype) for x in (options.rtol, options.atol, options.damping)]
    numbers.append(jnp.asarray(options.max_steps, jnp.int32))
    loop.program  # noqa: B018 - raises now for what a program cannot hold, not when XLA compiles
    found = bind(loop, [*closed.consts, *arguments, *guess, *numbers])
    return found[:-FACTS], Facts(*found[-FACTS:])


def _as_kernel(run: Callable[[Array], Outcome], guess: Array) -> Outcome:
    leaves, _ = as_kernel(lambda guess: jax.tree.leaves(run(guess)), guess)
    return jax.tree.unflatten(jax.tree.structure(jax.eval_shape(run, guess)), leaves)


def _zero(value: Any) -> ad.Zero:
    return ad.Zero(jax.typeof(value).to_tangent_aval())
