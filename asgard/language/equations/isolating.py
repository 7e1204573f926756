"""Solving a relation for an unknown.

Terms that are linear in it are collected, and functions with one inverse are undone. What is left
is an algebraic loop: z = cos(z*y) as it is written, and 0 = f(z) as z = z - f(z), whose fixed point
Newton's method finds as the zero of f.
"""

from collections.abc import Mapping

from ...errors import EquationError
from ..places import Source
from .expressions import Apply, Delay, Integral, Pool, Power, Product, Sum, Switching, parts
from .forms import linear
from .structure import Solved
from .system import isolable


def isolated(pool: Pool, solved: Solved, source: Source) -> int:
    """What the unknown of a relation is, which may hold the unknown itself: an algebraic loop.

    Raises `EquationError` where the unknown drops out.
    """
    unknown = pool.add(solved.variable)
    left, right = solved.relation.left, solved.relation.right
    within_left = unknown in pool.reach([left], isolable)
    within_right = unknown in pool.reach([right], isolable)
    for side, other, within in ((left, right, within_right), (right, left, within_left)):
        if side == unknown and not within:
            return other
    form = linear(pool, pool.difference(left, right), [unknown], isolable)
    if form is not None:
        slope = form.slopes.get(unknown, pool.number(0.0))
        if pool.value(slope) == 0:
            raise _lost(solved, source)
        return _quotient(pool, pool.negative(form.rest), slope)
    if within_left != within_right:
        sides = (left, right) if within_left else (right, left)
        undone = _undone(pool, *sides, unknown)
        if undone is not None:
            return undone
    for side, other in ((left, right), (right, left)):
        if side == unknown:
            return other
    # Either sign has the fixed point: the one with fewer terms.
    loops = [
        pool.difference(unknown, pool.difference(*sides))
        for sides in ((right, left), (left, right))
    ]
    return min(loops, key=lambda loop: len(parts(pool[loop])))


def on_a_loop(pool: Pool, solutions: Mapping[int, int], unknown: int) -> bool:
    """Whether an unknown depends on itself with no state between: whether it is solved for."""
    found: set[int] = set()
    pending = [solutions[unknown]]
    while pending:
        for index in pool.reach(
            [pending.pop()], lambda node: not isinstance(node, Integral | Delay | Switching)
        ):
            if index == unknown:
                return True
            if index in solutions and index not in found:
                found.add(index)
                pending.append(solutions[index])
    return False


def _lost(solved: Solved, source: Source) -> EquationError:
    name = solved.name
    return source.error(
        solved.relation.place,
        f"{name} cannot be isolated from '{solved.relation.text}': its terms cancel",
    )


def _quotient(pool: Pool, over: int, under: int) -> int:
    return pool.product((over, pool.reciprocal(under)))


def _undone(pool: Pool, side: int, value: int, unknown: int) -> int | None:
    """The unknown from side = value, function by function from the outside; None if one has no
    inverse."""
    while side != unknown:
        node = pool[side]
        if not isinstance(node, Sum | Product | Power | Apply):
            return None
        inside = [unknown in pool.reach([part], isolable) for part in node.parts]
        if sum(inside) > 1:
            form = linear(pool, side, [unknown], isolable)
            if form is None:
                return None
            return _quotient(pool, pool.difference(value, form.rest), form.slopes[unknown])
        place = inside.index(True)
        others = [part for part in node.parts if part != node.parts[place]]
        if isinstance(node, Sum):
            value = pool.difference(value, pool.sum(others))
        elif isinstance(node, Product):
            value = pool.product((value, *map(pool.reciprocal, others)))
        elif isinstance(node, Power):
            undone = _unpowered(pool, node, place, value)
            if undone is None:
                return None
            value = undone
        else:
            inverse = pool.inverse(node.function)
            if inverse is None:
                return None
            value = inverse(pool, value)
        side = node.parts[place]
    return value


def _unpowered(pool: Pool, node: Power, place: int, value: int) -> int | None:
    """The base or the exponent of a power from its value."""
    base, exponent = node.parts
    if place == 1:
        logarithms = pool.apply("log", value), pool.apply("log", base)
        return pool.product((logarithms[0], pool.reciprocal(logarithms[1])))
    if pool.value(exponent) == -1:
        return pool.reciprocal(value)
    if pool.value(exponent) == 0.5:
        inverse = pool.inverse("sqrt")
        return inverse(pool, value) if inverse else None
    return None
