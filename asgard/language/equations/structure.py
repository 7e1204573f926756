"""Which relation determines which unknown, and how often each is differentiated.

A maximum matching of relations to unknowns finds relations that are too many and unknowns that none
determines. The signature matrix of Pryce (2001, "A simple structural analysis method for DAEs")
holds the order to which relation i differentiates unknown j. A transversal of highest sum gives
offsets c of relations and d of unknowns. Relations with c > 0 would have to be differentiated; the
index is the largest c, and 1 more where some d is 0.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from ...errors import EquationError
from .expanding import Relation
from .expressions import Variable
from .hints import derivative
from .matching import heaviest, matching
from .system import Orders, System

# How many equations or unknowns a message lists.
_LISTED = 3
# How often a relation is looked through for its offset.
_TURNS = 100


@dataclasses.dataclass(frozen=True)
class Solved:
    """What a relation is solved for: the derivative of this order along `dim` of an unknown."""

    relation: Relation
    name: str
    dim: str | None
    order: int

    @property
    def variable(self) -> Variable:
        if self.dim is None or self.order == 0:
            return Variable(self.name)
        return Variable(self.name, ((self.dim, self.order),))


def solve(system: System) -> list[Solved]:
    """Which relation is solved for which derivative of which unknown.

    Raises `EquationError` for a relation too many, an unknown that no relation determines, and
    an index above 1.
    """
    orders = [system.orders(relation) for relation in system.relations]
    _check_counts(system, orders)
    chosen = _transversal(system, orders)
    highest = _highest(orders, dict.fromkeys(chosen, 0))
    if any(orders[row].free[name] < highest[name] for row, name in chosen.items()):
        raise _index_error(system, orders, chosen)
    return [
        Solved(system.relations[row], name, system.along[name], highest[name])
        for row, name in chosen.items()
    ]


def _transversal(system: System, orders: Sequence[Orders]) -> dict[int, str]:
    """A matching of relations to unknowns of the highest sum of orders.

    Among those it takes one with the most unknowns that stand alone on their left sides.
    """
    # An order counts more than all left sides together.
    by_order = len(orders) + 1
    return heaviest(
        [
            {
                name: by_order * order + (system.claimed(relation) == name)
                for name, order in found.free.items()
            }
            for relation, found in zip(system.relations, orders, strict=True)
        ]
    )


def _highest(orders: Sequence[Orders], offsets: Mapping[int, int]) -> dict[str, int]:
    """The highest order of each unknown, where each relation is differentiated so many times."""
    highest: dict[str, int] = {}
    for row, found in enumerate(orders):
        for name, order in found.anywhere.items():
            highest[name] = max(order + offsets[row], highest.get(name, 0))
    return highest


def _check_counts(system: System, orders: Sequence[Orders]) -> None:
    """Raises where there is no matching of all relations to all unknowns."""
    claims = [system.claimed(relation) for relation in system.relations]
    edges = [
        sorted(found.free, key=lambda name, claim=claim: name != claim)
        for found, claim in zip(orders, claims, strict=True)
    ]
    # Relations in the order of the text, those that claim an unknown first: so the later of
    # two relations for one unknown is the one too many.
    rows = sorted(range(len(edges)), key=lambda row: (claims[row] is None, row))
    matched = matching(edges, rows)
    rest = [name for name in system.places if name not in matched]
    extra = [row for row in rows if row not in matched.values()]
    if rest:
        raise _too_few(system, rest, extra, claims, orders)
    if extra:
        raise _too_many(system, extra[0], edges, matched)


def _too_few(
    system: System,
    rest: Sequence[str],
    extra: Sequence[int],
    claims: Sequence[str | None],
    orders: Sequence[Orders],
) -> EquationError:
    """The error for unknowns that no relation is left for."""
    for row in extra:
        inside = [name for name in rest if name in orders[row].anywhere]
        if inside:
            relation = system.relations[row]
            return system.source.error(
                relation.place,
                f"{inside[0]} cannot be isolated from {_quoted(relation)}: it stands only in "
                "an integral, a delay, a condition or a derivative along another dimension. "
                "Differentiate the equation, or write one for "
                f"{inside[0]} itself",
            )
    inner = [name for name in rest if "." in name]
    if inner:
        name = inner[0]
        return system.source.error(
            system.places[name],
            f"nothing in the sub-system determines {_shown(name)}: add an equation there, or "
            "make it one of its inputs",
        )
    seen = set().union(*(found.anywhere for found in orders))
    lost = [name for name in rest if name not in seen]
    if lost:
        name = lost[0]
        ends = [
            end for reset in system.resets for end in (reset.target, reset.trigger, reset.value)
        ]
        if system.pool.add(Variable(name)) in system.pool.reach(ends):
            raise system.names.undefined(_shown(name), system.source, system.places[name])
        return system.source.error(
            system.places[name], f"{_shown(name)} drops out of the equations: its terms cancel"
        )
    for name in rest:
        meant = derivative(name, system.places)
        if meant is not None:
            return system.source.error(system.places[name], f"nothing determines {name}: {meant}")
    unclaimed = [name for name in rest if name not in claims]
    # Relations with no unknown alone on the left may be meant for any of their unknowns.
    if all(claim is not None for claim in claims) and unclaimed:
        return system.names.undefined(
            _shown(unclaimed[0]), system.source, system.places[unclaimed[0]]
        )
    name = (unclaimed or rest)[0]
    listed = " and ".join(map(_shown, rest[:_LISTED]))
    more = f" and {len(rest) - _LISTED} more" if len(rest) > _LISTED else ""
    return system.source.error(
        system.places[name],
        f"too few equations: nothing determines {listed}{more}. Add "
        f"{len(rest)} equation{'s'[: len(rest) != 1]}; what is no unknown is said in "
        "parameters={...} or inputs=(...)",
    )


def _too_many(
    system: System, row: int, edges: Sequence[Sequence[str]], matched: Mapping[str, int]
) -> EquationError:
    """The error for a relation none of whose unknowns is left: with the others for these."""
    rows, names = {row: None}, {}
    pending = [row]
    while pending:
        for name in edges[pending.pop()]:
            if name not in names:
                names[name] = None
                other = matched[name]
                if other not in rows:
                    rows[other] = None
                    pending.append(other)
    relation = system.relations[row]
    if not names:
        return system.source.error(
            relation.place,
            f"too many equations: {_quoted(relation)} has no unknown that it could determine",
        )
    others = [system.relations[other] for other in rows if other != row]
    numbers = [system.source.position(other.place)[0] for other in others[:_LISTED]]
    lines = f"line{'s'[: len(numbers) != 1]} {' and '.join(map(str, numbers))}"
    unknowns = ", ".join(map(_shown, list(names)[:_LISTED]))
    dots = ", ..." if len(names) > _LISTED else ""
    return system.source.error(
        relation.place,
        f"too many equations: {_quoted(relation)} and {lines}"
        f"{' and more' if len(others) > _LISTED else ''} are {len(rows)} equations for "
        f"{len(names)} unknown{'s'[: len(names) != 1]} ({unknowns}{dots}). Remove one, or say "
        "less in parameters and inputs",
    )


def _index_error(
    system: System, orders: Sequence[Orders], chosen: Mapping[int, str]
) -> EquationError:
    """The error for relations that would have to be differentiated."""
    offsets = dict.fromkeys(chosen, 0)
    for _ in range(_TURNS):
        highest = _highest(orders, offsets)
        new = {row: highest[name] - orders[row].free[name] for row, name in chosen.items()}
        if new == offsets:
            break
        offsets = new
    else:
        row = max(offsets, key=lambda row: offsets[row])
        relation = system.relations[row]
        return system.source.error(
            relation.place,
            f"{_shown(chosen[row])} cannot be isolated from {_quoted(relation)}: it also "
            "stands, with a higher derivative, in an integral, a delay or a derivative along "
            "another dimension",
        )
    index = max(offsets.values()) + (min(highest.values()) == 0)
    listed = []
    for row, times in offsets.items():
        if times:
            relation = system.relations[row]
            line = system.source.position(relation.place)[0]
            listed.append(f"{_quoted(relation)} (line {line}) {times} time{'s'[: times != 1]}")
    first = min(
        (row for row, times in offsets.items() if times),
        key=lambda row: system.relations[row].place,
    )
    more = " and more" if len(listed) > _LISTED else ""
    what = f"the equations have index {index}" if index > 1 else "the equations tie states"
    return system.source.error(
        system.relations[first].place,
        f"{what}: to find the highest derivatives, differentiate "
        f"{', '.join(listed[:_LISTED])}{more}. Put what that gives in the equations' place; "
        "initial values have to satisfy the equations themselves",
    )


def _shown(name: str) -> str:
    """An unknown as messages show it: a sub-system in an expression has a number as its name."""
    return re.sub(r"\[[0-9]+\]", "(...)", name)


def _quoted(relation: Relation) -> str:
    text = relation.text
    return f"'{text if len(text) <= 50 else text[:47] + '...'}'"
