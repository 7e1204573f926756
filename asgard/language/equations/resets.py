"""`reset(x, trigger, value)`: which states it is of.

A reset is of a state: an unknown of a differential equation, or a derivative of it below the
highest. In an integral equation x = 1 + int(a, t), and in a stochastic one, the integral is reset
to what makes x the value.
"""

from collections import Counter
from collections.abc import Mapping

from ...errors import EquationError
from .expanding import Reset
from .expressions import Integral, Pool, Sum, Variable, parts
from .system import System


def states_reset(
    system: System, order: Mapping[str, int], solutions: Mapping[int, int]
) -> dict[int, Reset]:
    """The resets, by the number of the unknown whose state each is of.

    `order` and `solutions` are those of a `Planner`. Raises `EquationError` for a reset of what is
    no state, and for a second one of a state.
    """
    found: dict[int, Reset] = {}
    for reset in system.resets:
        state = _state(system, reset, order, solutions)
        if state in found:
            line = system.source.position(found[state].place)[0]
            raise system.source.error(
                reset.place,
                f"{reset.text} is reset on line {line} already. Write one for both triggers: "
                f"reset({reset.text}, maximum(a, b), if(a > b, v, w)) for v at a and w at b",
            )
        found[state] = reset
    return found


def _state(
    system: System, reset: Reset, order: Mapping[str, int], solutions: Mapping[int, int]
) -> int:
    """The number of the variable that a reset is of."""
    pool = system.pool
    index = reset.target
    passed = set()
    # z = diff(x, t) is another name of a state.
    while index in solutions and index not in passed:
        passed.add(index)
        if not isinstance(pool[solutions[index]], Variable):
            break
        index = solutions[index]
    node = pool[index]
    if not isinstance(node, Variable):
        raise _error(
            system,
            reset,
            f"reset is of an unknown, reset(x, trigger, value) beside diff(x, t) = ..., or of its "
            f"derivative; {reset.text} is neither",
        )
    dim = system.along[node.name]
    _check_dims(system, reset, node.name, dim)
    if node.order(dim) < order[node.name] or _is_integral(system, index, solutions):
        return index
    if order[node.name]:
        below = node.name if order[node.name] == 1 else f"a lower derivative of {node.name}"
        raise _error(
            system,
            reset,
            f"{reset.text} is what its equation says at every time: reset {below}",
        )
    raise _error(
        system,
        reset,
        f"{reset.text} is no state: its equation says what it is at every time. Write one for its "
        f"derivative, diff({node.name}, t) = ..., or reset a state that it depends on",
    )


def _error(system: System, reset: Reset, message: str) -> EquationError:
    return system.source.error(reset.place, message)


def _check_dims(system: System, reset: Reset, name: str, dim: str | None) -> None:
    """Raises where an unknown of a reset is differentiated along a second dimension."""
    for node in system.pool.nodes:
        if isinstance(node, Variable) and node.name == name:
            for other, _ in node.orders:
                if other != dim:
                    raise _error(
                        system,
                        reset,
                        f"{name} depends on {other}, too: only functions of {dim or 't'} alone "
                        "are reset",
                    )


def _is_integral(system: System, index: int, solutions: Mapping[int, int]) -> bool:
    """Whether an unknown is a sum with an integral that nothing else reads."""
    if index not in solutions:
        return False
    pool = system.pool
    solution = solutions[index]
    integral = integral_of(pool, solution)
    if integral is None:
        return False
    roots = [*solutions.values(), *system.others]
    for reset in system.resets:
        roots += [reset.trigger, reset.value]
    readers = Counter(roots)
    for other in pool.reach(roots):
        readers.update(parts(pool[other]))
    return readers[solution] == readers[integral] == 1


def integral_of(pool: Pool, solution: int) -> int | None:
    """The integral that a reset changes among the terms of a sum, None where there is none.

    It is one along a dimension, rather than one against a noise.
    """
    node = pool[solution]
    terms = node.parts if isinstance(node, Sum) else (solution,)
    found: dict[int, bool] = {}
    for term in terms:
        inner = pool[term]
        if isinstance(inner, Integral):
            found[term] = inner.noise is not None
    return min(found, key=lambda term: found[term], default=None)
