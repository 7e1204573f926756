"""The one loop that solves z = g(z): Picard's, Anderson's and Newton's steps.

z is a real vector `[unknowns, *lanes]`. With lanes each has its own steps, and what is done stays
as it is. A turn takes a step, and then evaluates g where it led.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from .linear import SMALL, add_to_diagonal, eliminate, iterative_solve, solve_in_lanes
from .rounding import ROUNDING, Control, Scale, every, largest, norm

# Up to so many unknowns the Jacobian is formed.
DENSE = 512
# How many residuals Anderson's method mixes.
DEPTH = 5
# "auto" goes over to Newton's method past so many turns to come, and one more for each unknown.
PATIENCE = 4
# After so many turns "auto" judges the rate.
JUDGED = 3
# Without a fall for so many turns, steps fall no more.
STAGNANT = 8
# Below this part of z, Newton's steps are taken whole even if the residual rises: it is near.
NEAR = 1e-4
# A step of Newton's that was halved so often is given up.
HALVINGS = 24

RUNNING, CONVERGED, FAILED = range(3)


@dataclasses.dataclass(frozen=True)
class Equations:
    """z = g(z).

    `slopes(z)` is the Jacobian of g, `[unknowns, unknowns, *lanes]`; None where there are too many
    unknowns. `wires[i]` is the wire that entry i belongs to.
    """

    g: Callable[[Array], Array]
    slopes: Callable[[Array], Array] | None
    wires: np.ndarray


class Found(eqx.Module):
    """Where a search ended: the last z, g(z) - z there, the state and the turns taken."""

    z: Float[Array, "unknowns *lanes"]
    residual: Float[Array, "unknowns *lanes"]
    state: Int[Array, "*lanes"]
    steps: Int[Array, "*lanes"]


class Search(eqx.Module):
    """Where a search for a fixed point stands.

    `residual` is g(z) - z, and `direction` Newton's step where one is to be taken. `size` is the
    last step's in units of the tolerance, `least` the smallest size, `best` the z from which that
    step went, and `waiting` the turns since. What is not known yet is infinite.
    """

    z: Float[Array, "unknowns *lanes"]
    residual: Float[Array, "unknowns *lanes"]
    direction: Float[Array, "unknowns *lanes"] | None
    state: Int[Array, "*lanes"]
    steps: Int[Array, "*lanes"]
    size: Float[Array, "*lanes"]
    least: Float[Array, "*lanes"]
    best: Float[Array, "unknowns *lanes"]
    waiting: Int[Array, "*lanes"]
    contraction: "Contraction | None"
    mixing: "Mixing | None"
    descent: "Descent | None"
    newtons: Bool[Array, "*lanes"] | None  # of "auto": whether it went over to Newton's steps


class Contraction(eqx.Module):
    """What Picard's method remembers: by how much the last step fell, and the slower of the last
    two of these ratios."""

    ratio: Float[Array, "*lanes"]
    rate: Float[Array, "*lanes"]


class Mixing(eqx.Module):
    """What Anderson's method remembers: the last changes of z and of the residual, the last of
    both, the first residual's norm, and by how much z moved at most for each unit of residual."""

    moves: Float[Array, "depth unknowns *lanes"]
    changes: Float[Array, "depth unknowns *lanes"]
    before: Float[Array, "unknowns *lanes"]
    residual: Float[Array, "unknowns *lanes"]
    first: Float[Array, "*lanes"]
    gain: Float[Array, "*lanes"]


class Descent(eqx.Module):
    """What Newton's method remembers: the last step, from where, how much of it, and how near; and
    by how much z moved for each unit of residual in the last step that halved it."""

    base: Float[Array, "unknowns *lanes"]
    direction: Float[Array, "unknowns *lanes"]
    length: Float[Array, "*lanes"]
    norm: Float[Array, "*lanes"]
    near: Bool[Array, "*lanes"]
    halvings: Int[Array, "*lanes"]
    gain: Float[Array, "*lanes"]


class Proposal(eqx.Module):
    """A step from z, and how large the error after it is, in units of the tolerance.

    `judged` says that the error may be trusted, and that the step's size counts; `rounded` that a
    step of that size is one of rounding if it falls no more; `failed` that there is no step.
    """

    step: Float[Array, "unknowns *lanes"]
    size: Float[Array, "*lanes"]
    error: Float[Array, "*lanes"]
    judged: Bool[Array, "*lanes"]
    rounded: Bool[Array, "*lanes"]
    failed: Bool[Array, "*lanes"]


def search(
    equations: Equations,
    method: str,
    guess: Array,
    control: Control,
    compiled: Callable[[Callable[[Array], Found], Array], Found],
) -> Found:
    """The search from a guess to its end.

    `compiled(run, guess)` is run(guess): of use where a search has two loops, of which the first
    may be a kernel and the second is none.
    """
    if method != "auto" or guess.shape[0] <= SMALL:
        return _Turn(equations, method, control).run(guess)
    # Newton's steps call a library then, and mostly none are taken.
    first = compiled(_Turn(equations, method, control, only_picard=True).run, guess)
    return lax.cond(
        jnp.any(first.state == RUNNING),
        _Turn(equations, "newton", control).resume,
        lambda first: first,
        first,
    )


class _Turn:
    """One turn of the loop. "auto" leaves Newton's steps to another loop if asked to."""

    def __init__(
        self, equations: Equations, method: str, control: Control, only_picard: bool = False
    ):
        self.equations, self.method, self.control = equations, method, control
        self.newton = method in ("auto", "newton") and not only_picard
        self.scale = Scale(equations.wires, control)

    def run(self, guess: Array) -> Found:
        """The search from a guess, as far as these turns lead."""
        none = jnp.zeros(guess.shape[1:], jnp.int32)
        return self.resume(Found(guess, guess, none, none))

    def resume(self, found: Found) -> Found:
        """The search from where another one ended."""
        end = lax.while_loop(lambda now: jnp.any(self._active(now)), self, self.start(found))
        return Found(end.z, end.residual, end.state, end.steps)

    def _active(self, now: Search) -> Array:
        """The lanes that these turns are for."""
        running = now.state == RUNNING
        return running if now.newtons is None or self.newton else running & ~now.newtons

    def start(self, found: Found) -> Search:
        z, lanes = found.z, found.z.shape[1:]
        zero, none = jnp.zeros(lanes, jnp.int32), jnp.zeros(lanes, bool)
        infinite = jnp.full(lanes, jnp.inf, z.dtype)
        contraction = mixing = descent = newtons = None
        # What is not known yet is z: a kernel takes no arrays that are constants.
        if self.method in ("picard", "auto"):
            contraction = Contraction(infinite, infinite)
        if self.method == "anderson":
            table = jnp.broadcast_to(z, (DEPTH, *z.shape))
            mixing = Mixing(table, table, z, z, infinite, jnp.zeros(lanes, z.dtype))
        if self.newton:
            descent = Descent(z, z, infinite, infinite, none, zero, jnp.zeros(lanes, z.dtype))
        if self.method == "auto":
            newtons = none
        known = (contraction, mixing, descent, newtons)
        return self._evaluated(
            Search(z, z, z, found.state, found.steps, infinite, infinite, z, zero, *known)
        )

    def __call__(self, now: Search) -> Search:
        proposal, known = self._propose(now)
        z = jnp.where(proposal.failed, now.z, now.z + proposal.step)
        counts = proposal.judged & (proposal.size < now.least)
        waiting = jnp.where(counts | ~proposal.judged, 0, now.waiting + 1)
        best = jnp.where(counts, now.z, now.best)
        # Rounding goes to and fro; equal steps in one direction lead away.
        stays = self.scale.measure(z - best, best, z) <= waiting / 2 * proposal.size
        still = (waiting >= STAGNANT) & proposal.rounded & stays
        done = proposal.judged & ((proposal.error <= 1) | still)
        steps = now.steps + 1
        state = jnp.where(steps >= self.control.max_steps, FAILED, RUNNING)
        state = jnp.where(done, CONVERGED, jnp.where(proposal.failed, FAILED, state))
        after = dataclasses.replace(
            now,
            z=z,
            state=state.astype(jnp.int32),
            steps=steps,
            size=jnp.where(proposal.judged, proposal.size, now.size),
            least=jnp.where(counts, proposal.size, now.least),
            best=best,
            waiting=waiting,
            **known,
        )
        if now.newtons is not None:
            after = self._go_over(now, now.newtons, after, proposal)
        # With lanes, those that are done stay as they are; without, nothing is done yet.
        return self._evaluated(_where(self._active(now), after, now) if z.ndim > 1 else after)

    def _evaluated(self, now: Search) -> Search:
        """A search with what g gives at its z, which is computed once and kept.

        XLA would fuse it into all that uses it, and compute it anew in each.
        """
        residual = self.equations.g(now.z) - now.z
        if now.descent is None:
            return dataclasses.replace(now, residual=residual, direction=None)
        running = now.state == RUNNING
        wanted = running if now.newtons is None else running & now.newtons
        direction = lax.cond(
            jnp.any(wanted), self._direction, lambda _, residual: residual, now.z, residual
        )
        return dataclasses.replace(now, residual=residual, direction=direction)

    def _propose(self, now: Search) -> tuple[Proposal, dict[str, Any]]:
        """A step, and what is known after it."""
        if now.mixing is not None:
            return self._anderson(now, now.mixing)
        if now.contraction is None:
            assert now.descent is not None
            return self._newton(now, now.descent)
        plain, contraction = self._picard(now, now.contraction)
        if now.descent is None or now.newtons is None:
            return plain, contraction
        proposal, descent = self._newton(now, now.descent)
        known = {"descent": _where(now.newtons, descent["descent"], now.descent)} | contraction
        return _where(now.newtons, proposal, plain), known

    def _picard(self, now: Search, known: Contraction) -> tuple[Proposal, dict[str, Any]]:
        step = self.control.damping * now.residual
        size = self.scale.measure(step, now.z, now.z + step)
        # A slow contraction adds up the roundings of as many turns as it takes.
        part = jnp.where(known.rate < 1, 1 - known.rate, 1)
        rounded = self.scale.is_rounding(step * part, now.z, now.z + step)
        # A rate takes two ratios, as one may be small by chance; those of rounding say nothing.
        ratio = jnp.where(jnp.isfinite(now.size), size / now.size, jnp.inf)
        fresh = ~rounded | ~(known.rate < 1)
        rate = jnp.where(fresh, jnp.maximum(ratio, known.ratio), known.rate)
        # The error after a step of a contraction by `rate` is the sum of all steps to come.
        error = jnp.where(rate < 1, size * rate / (1 - rate), jnp.inf)
        at_once = (now.steps == 0) & (self.scale.roundings(step, now.z) <= 2)
        error = jnp.where((size == 0) | at_once, 0, error)
        failed = ~jnp.isfinite(size)
        proposal = Proposal(step, size, error, ~failed, rounded, failed)
        return proposal, {"contraction": Contraction(ratio, rate)}

    def _anderson(self, now: Search, known: Mixing) -> tuple[Proposal, dict[str, Any]]:
        """The combination of the last residuals that is least, with the step from there."""
        residual = now.residual
        begun = now.steps > 0
        place = jnp.where(begun, (now.steps - 1) % DEPTH, 0)
        row = lax.broadcasted_iota(jnp.int32, (DEPTH, 1, *place.shape), 0) == place
        row &= begun
        moves = jnp.where(row, now.z - known.before, known.moves)
        changes = jnp.where(row, residual - known.residual, known.changes)
        # Of what is not known yet nothing is taken.
        unknown = lax.broadcasted_iota(jnp.int32, row.shape, 0) >= now.steps
        changes, moves = jnp.where(unknown, 0, changes), jnp.where(unknown, 0, moves)
        # Normal equations of columns of length 1, with a little added so that they can be solved.
        lengths = jnp.sqrt(jnp.sum(changes * changes, axis=1))
        lengths = jnp.where(lengths > 0, lengths, 1)
        columns = changes / lengths[:, None]
        table = jnp.sum(columns[:, None] * columns[None], axis=2)
        right = jnp.sum(columns * residual, axis=1)
        table = add_to_diagonal(table, 10 * float(jnp.finfo(table.dtype).eps))
        parts = eliminate(table, right[:, None])[:, 0] / lengths
        damping = self.control.damping
        taken = jnp.sum(parts[:, None] * (moves + damping * changes), axis=0)
        step = damping * residual - taken
        after = now.z + step
        size = self.scale.measure(residual, now.z, now.z + residual)
        missing = norm(residual)
        first = jnp.where(begun, known.first, missing)
        error = jnp.maximum(size, self.scale.measure(step, now.z, after))
        # A residual that never falls is that of no fixed point, however large z has become.
        falls = (missing <= first / 2) | (self.scale.roundings(residual, now.z) <= 2)
        failed = ~(jnp.isfinite(size) & jnp.isfinite(error))
        steepest = self._steepest(moves, changes, now.z)
        gain = jnp.where(steepest > 0, steepest, known.gain)
        told = falls & self.scale.is_determined(gain)
        rounded = told & self.scale.is_rounding(step, now.z, after)
        proposal = Proposal(step, size, jnp.where(told, error, jnp.inf), ~failed, rounded, failed)
        return proposal, {"mixing": Mixing(moves, changes, now.z, residual, first, gain)}

    def _newton(self, now: Search, known: Descent) -> tuple[Proposal, dict[str, Any]]:
        """A step from where the residual fell; else half of the last one."""
        assert now.direction is not None
        missing = norm(now.residual)
        finite = jnp.isfinite(missing)
        length = jnp.minimum(known.length, 1)
        falls = missing <= known.norm * (1 - 1e-4 * length)
        accepts = finite & (falls | known.near)
        half = length / 2
        back = known.base + half * known.direction - now.z
        # At a fixed point there is nothing to solve, be the Jacobian what it may. Where 1 - J is
        # singular, a step of Picard's leads on.
        regular = every(jnp.isfinite(now.direction))
        direction = jnp.where(regular, now.direction, now.residual)
        direction = jnp.where(missing == 0, 0, direction)
        step = jnp.where(accepts, self.control.damping * direction, back)
        after = now.z + direction
        size = self.scale.measure(direction, now.z, after)
        # Steps s that fall fast fall quadratically, the next below s^2 / the one before.
        ratio = size / now.size
        fast = (ratio < 0.1) & (known.length == 1) & jnp.isfinite(now.size)
        error = jnp.where(fast & (self.control.damping == 1), size * ratio, size)
        # A residual of rounding does not fall any more, by however little the step misses.
        exact = self.scale.roundings(now.residual, now.z) <= 2
        error = jnp.where(exact & self.scale.is_rounding(direction, now.z, after), 0, error)
        begun = jnp.isfinite(known.norm)
        move = now.z - known.base
        tells = begun & (2 * missing <= known.norm) & ~self.scale.is_rounding(move, now.z, now.z)
        gain = jnp.where(tells, norm(move) / (known.norm - missing), known.gain)
        told = self.scale.is_determined(gain)
        error = jnp.where(told, error, jnp.inf)
        halvings = jnp.where(accepts, 0, known.halvings + 1)
        failed = jnp.where(accepts, ~jnp.isfinite(size), ~begun | (halvings > HALVINGS))
        judged = accepts & ~failed & (regular | (missing == 0))
        resolution = float(jnp.finfo(size.dtype).eps)
        rounded = told & self.scale.is_rounding(now.residual, now.z, now.z)
        rounded &= self.scale.is_rounding(direction, now.z, after, resolution ** (-1 / 3))
        proposal = Proposal(step, size, error, judged, rounded, failed)
        descent = Descent(
            jnp.where(accepts, now.z, known.base),
            jnp.where(accepts, direction, known.direction),
            jnp.where(accepts, self.control.damping, half),
            jnp.where(accepts, missing, known.norm),
            accepts & self.scale.is_rounding(direction, now.z, after, NEAR / resolution),
            halvings,
            gain,
        )
        return proposal, {"descent": descent}

    def _direction(self, z: Array, residual: Array) -> Array:
        """The s with s - g'(z) s = g(z) - z."""
        if self.equations.slopes is not None:
            return solve_in_lanes(add_to_diagonal(-self.equations.slopes(z), 1.0), residual)

        _, push = jax.linearize(self.equations.g, z)
        return iterative_solve(lambda s: s - push(s), residual)

    def _go_over(self, now: Search, newtons: Array, after: Search, proposal: Proposal) -> Search:
        """Newton's method from the next turn on, where Picard's steps grow or would take long."""
        assert after.contraction is not None
        rate = after.contraction.rate
        grows = ~(rate < 1)
        # The error that so many turns more would leave.
        slow = grows | (proposal.error * rate ** (PATIENCE + now.z.shape[0]) > 1)
        slow &= (after.steps >= JUDGED) & (after.state == RUNNING)
        # Where g is not finite any more; at the guess that ends the search.
        broken = (after.state == FAILED) & (now.steps > 0) & proposal.failed
        broken &= after.steps < self.control.max_steps
        over = ~newtons & (slow | broken)
        return dataclasses.replace(
            after,
            z=jnp.where(over & (grows | broken), after.best, after.z),
            state=jnp.where(over, RUNNING, after.state),
            size=jnp.where(over, jnp.inf, after.size),
            least=jnp.where(over, jnp.inf, after.least),
            waiting=jnp.where(over, 0, after.waiting),
            newtons=newtons | over,
        )

    def _steepest(self, moves: Array, changes: Array, z: Array) -> Array:
        """By how much z moved at most for each unit of residual, in moves that are not rounding."""
        size = jnp.max(jnp.abs(moves), axis=1)
        tells = size > ROUNDING * jnp.finfo(z.dtype).eps * largest(z)
        change = jnp.max(jnp.abs(changes), axis=1)
        return jnp.max(jnp.where(tells, size / change, 0), axis=0)


def _where(chosen: Array, one: Any, other: Any) -> Any:
    """Of two pytrees that which is chosen, lane by lane."""
    return jax.tree.map(lambda a, b: jnp.where(chosen, a, b), one, other)
