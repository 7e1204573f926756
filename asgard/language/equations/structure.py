"""Which relation determines which unknown, and how often each is differentiated.

A maximum matching of relations to unknowns finds relations that are too many and unknowns that none
determines. The signature matrix of Pryce (2001, "A simple structural analysis method for DAEs")
holds the order to which relation i differentiates unknown j. A transversal of highest sum gives
offsets c of relations and d of unknowns. Relations with c > 0 would have to be differentiated; the
index is the largest c, and 1 more where some d is 0.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from ...errors import EquationError
from ..places import Source
from .chain_rule import total_derivative
from .expanding import Relation
from .expressions import (
    RELATIONS,
    Apply,
    Derivative,
    Input,
    Node,
    Opaque,
    Pool,
    Variable,
)
from .names import Names

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
        known = self.dim is not None and self.order > 0
        return Variable(self.name, ((self.dim, self.order),) if known else ())  # pyright: ignore


@dataclasses.dataclass
class System:
    """Relations and the unknowns in them, where each stands first and what it evolves along.

    `others` are expressions beside the relations, of outputs and initial values.
    """

    source: Source
    names: Names
    pool: Pool
    relations: list[Relation]
    places: Mapping[str, int]
    others: list[int]
    along: dict[str, str | None] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        source: Source,
        names: Names,
        pool: Pool,
        relations: Sequence[Relation],
        places: Mapping[str, int],
        others: Sequence[int],
    ) -> "System":
        """The system, with derivatives along what unknowns evolve along by the chain rule.

        `others` are expressions beside the relations.
        """
        system = cls(source, names, pool, list(relations), places, list(others))
        system._propagate()
        system._find_dimensions()
        system._differentiate()
        return system

    def _propagate(self) -> None:
        """Puts unknowns that are constants, such as k in k = 2*a, where they stand."""
        pool = self.pool
        claims = collections.Counter(relation.left for relation in self.relations)
        known: dict[str, int] = {}

        def change(_: int, node: Node) -> int | None:
            if not isinstance(node, Variable) or node.name not in known:
                return None
            return pool.number(0.0) if node.orders else known[node.name]

        count = -1
        while count < len(known):
            count = len(known)
            for index, relation in enumerate(self.relations):
                left, right = relation.left, relation.right
                node = pool[left]
                name = node.name if isinstance(node, Variable) and not node.orders else None
                own = name is not None and claims[left] == 1
                new = pool.rebuilt([right] if own else [left, right], change)
                left = left if own else new[left]
                self.relations[index] = dataclasses.replace(relation, left=left, right=new[right])
                if name is not None and own and pool.constant[new[right]]:
                    known[name] = new[right]
            if not known:
                return
        new = pool.rebuilt(self.others, change)
        self.others = [new[other] for other in self.others]

    def _find_dimensions(self) -> None:
        """Finds the dimension that each unknown evolves along.

        It is that of a derivative that is a left side, if there is one for the unknown; else the
        one of those dimensions that it is differentiated along.
        """
        claimed: dict[str, str] = {}
        leading = dict.fromkeys(self.names.leading)
        for relation in self.relations:
            node = self.pool[relation.left]
            if isinstance(node, Variable) and len(node.orders) == 1:
                claimed.setdefault(node.name, node.orders[0][0])
                leading[node.orders[0][0]] = None
        used: dict[str, dict[str, None]] = {name: {} for name in self.places}
        for index in self._reached():
            node = self.pool[index]
            if isinstance(node, Variable):
                used[node.name].update((dim, None) for dim, _ in node.orders)
            elif isinstance(node, Derivative):
                for inner in self.pool.reach(node.parts):
                    below = self.pool[inner]
                    if isinstance(below, Variable):
                        used[below.name][node.dim] = None
        for name, dims in used.items():
            candidates = [dim for dim in dims if dim in leading] or ([] if leading else [*dims])
            if name in claimed:
                self.along[name] = claimed[name]
            elif len(candidates) < 2 or "t" in candidates:
                self.along[name] = "t" if "t" in candidates else next(iter(candidates), None)
            else:
                raise self.source.error(
                    self.places[name],
                    f"{name} is differentiated along {' and '.join(candidates)}: write the "
                    f"derivative that is to be isolated alone on the left, "
                    f"diff({name}, {candidates[0]}) = ...",
                )

    def _reached(self) -> list[int]:
        return self.pool.reach(
            side for relation in self.relations for side in (relation.left, relation.right)
        )

    def _differentiate(self) -> None:
        pool = self.pool
        evolving = set(self.along.values())

        def change(index: int, node: Node) -> int | None:
            if not isinstance(node, Derivative) or node.dim not in evolving:
                return None
            if isinstance(pool[node.parts[0]], Input | Opaque):
                return None
            return total_derivative(pool, node.parts[0], node.dim)

        sides = [side for relation in self.relations for side in (relation.left, relation.right)]
        new = pool.rebuilt([*sides, *self.others], change)
        self.others = [new[other] for other in self.others]
        self.relations = [
            dataclasses.replace(relation, left=new[relation.left], right=new[relation.right])
            for relation in self.relations
        ]

    # Orders of unknowns in relations.

    def orders(self, relation: Relation) -> tuple[dict[str, int], dict[str, int]]:
        """The order of each unknown in a relation: where it can be isolated, and anywhere."""
        sides = (relation.left, relation.right)
        free: dict[str, int] = {}
        anywhere: dict[str, int] = {}
        for index in self.pool.reach(sides, into=isolable):
            node = self.pool[index]
            if isinstance(node, Variable) and set(dict(node.orders)) <= {self.along[node.name]}:
                order = node.order(self.along[node.name])
                free[node.name] = max(order, free.get(node.name, 0))
        for index in self.pool.reach(sides):
            node = self.pool[index]
            if isinstance(node, Variable):
                order = node.order(self.along[node.name])
                anywhere[node.name] = max(order, anywhere.get(node.name, 0))
        return free, anywhere

    def solve(self) -> list[Solved]:
        """Which relation is solved for which derivative of which unknown.

        Raises `EquationError` for a relation too many, an unknown that no relation determines, and
        an index above 1.
        """
        found = [self.orders(relation) for relation in self.relations]
        free = [orders for orders, _ in found]
        anywhere = [orders for _, orders in found]
        self._check_counts(free, anywhere)
        chosen = self._transversal(free)
        highest: dict[str, int] = {}
        for orders in anywhere:
            for name, order in orders.items():
                highest[name] = max(order, highest.get(name, 0))
        if any(free[row][name] < highest[name] for row, name in chosen.items()):
            raise self._index_error(free, anywhere, chosen)
        return [
            Solved(self.relations[row], name, self.along[name], highest[name])
            for row, name in chosen.items()
        ]

    def claimed(self, relation: Relation) -> str | None:
        """The unknown that a left side is, or is the derivative of."""
        node = self.pool[relation.left]
        return node.name if isinstance(node, Variable) else None

    # Counts.

    def _check_counts(
        self, free: Sequence[Mapping[str, int]], anywhere: Sequence[Mapping[str, int]]
    ) -> None:
        claims = [self.claimed(relation) for relation in self.relations]
        edges = [
            sorted(orders, key=lambda name, claim=claim: name != claim)
            for orders, claim in zip(free, claims, strict=True)
        ]
        # Relations in the order of the text, those that claim an unknown first: so the later of
        # two relations for one unknown is the one too many.
        rows = sorted(range(len(edges)), key=lambda row: (claims[row] is None, row))
        matched = _matching(edges, rows)
        rest = [name for name in self.places if name not in matched]
        extra = [row for row in rows if row not in matched.values()]
        if rest:
            raise self._too_few(rest, extra, matched, claims, anywhere)
        if extra:
            raise self._too_many(extra[0], edges, matched)

    def _too_few(
        self,
        rest: Sequence[str],
        extra: Sequence[int],
        matched: Mapping[str, int],
        claims: Sequence[str | None],
        anywhere: Sequence[Mapping[str, int]],
    ) -> EquationError:
        for row in extra:
            inside = [name for name in rest if name in anywhere[row]]
            if inside:
                relation = self.relations[row]
                return self.source.error(
                    relation.place,
                    f"{inside[0]} cannot be isolated from {_quoted(relation)}: it stands only in "
                    "an integral, a delay, a condition or a derivative along another dimension. "
                    "Differentiate the equation, or write one for "
                    f"{inside[0]} itself",
                )
        inner = [name for name in rest if "." in name]
        if inner:
            name = inner[0]
            return self.source.error(
                self.places[name],
                f"nothing in the sub-system determines {_shown(name)}: add an equation there, or "
                "make it one of its inputs",
            )
        seen = set().union(*anywhere)
        lost = [name for name in rest if name not in seen]
        if lost:
            name = lost[0]
            return self.source.error(
                self.places[name], f"{_shown(name)} drops out of the equations: its terms cancel"
            )
        unclaimed = [name for name in rest if name not in claims]
        # Relations with no unknown alone on the left may be meant for any of their unknowns.
        if all(claim is not None for claim in claims) and unclaimed:
            return self.names.undefined(
                _shown(unclaimed[0]), self.source, self.places[unclaimed[0]]
            )
        name = (unclaimed or rest)[0]
        listed = " and ".join(map(_shown, rest[:_LISTED]))
        more = f" and {len(rest) - _LISTED} more" if len(rest) > _LISTED else ""
        return self.source.error(
            self.places[name],
            f"too few equations: nothing determines {listed}{more}. Add "
            f"{len(rest)} equation{'s'[: len(rest) != 1]}; what is no unknown is said in "
            "parameters={...} or inputs=(...)",
        )

    def _too_many(
        self, row: int, edges: Sequence[Sequence[str]], matched: Mapping[str, int]
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
        relation = self.relations[row]
        if not names:
            return self.source.error(
                relation.place,
                f"too many equations: {_quoted(relation)} has no unknown that it could determine",
            )
        others = [self.relations[other] for other in rows if other != row]
        numbers = [self.source.position(other.place)[0] for other in others[:_LISTED]]
        lines = f"line{'s'[: len(numbers) != 1]} {' and '.join(map(str, numbers))}"
        unknowns = ", ".join(map(_shown, list(names)[:_LISTED]))
        dots = ", ..." if len(names) > _LISTED else ""
        return self.source.error(
            relation.place,
            f"too many equations: {_quoted(relation)} and {lines}"
            f"{' and more' if len(others) > _LISTED else ''} are {len(rows)} equations for "
            f"{len(names)} unknown{'s'[: len(names) != 1]} ({unknowns}{dots}). Remove one, or say "
            "less in parameters and inputs",
        )

    # The signature matrix.

    def _transversal(self, free: Sequence[Mapping[str, int]]) -> dict[int, str]:
        """A matching of relations to unknowns of the highest sum of orders.

        Among those it takes one with the most unknowns that stand alone on their left sides.
        """
        names = list(self.places)
        columns = {name: column for column, name in enumerate(names)}
        # An order counts more than all left sides together.
        by_order = len(names) + 1
        weights = scipy.sparse.lil_array((len(names), len(names)), dtype=np.float64)
        for row, orders in enumerate(free):
            for name, order in orders.items():
                own = self.claimed(self.relations[row]) == name
                weights[row, columns[name]] = by_order * order + own + 1
        rows, chosen = min_weight_full_bipartite_matching(weights.tocsr(), maximize=True)
        return {int(row): names[column] for row, column in zip(rows, chosen, strict=True)}

    def _index_error(
        self,
        free: Sequence[Mapping[str, int]],
        anywhere: Sequence[Mapping[str, int]],
        chosen: Mapping[int, str],
    ) -> EquationError:
        offsets = dict.fromkeys(chosen, 0)
        for _ in range(_TURNS):
            highest = dict.fromkeys(self.places, 0)
            for row, orders in enumerate(anywhere):
                for name, order in orders.items():
                    highest[name] = max(highest[name], order + offsets[row])
            new = {row: highest[name] - free[row][name] for row, name in chosen.items()}
            if new == offsets:
                break
            offsets = new
        else:
            row = max(offsets, key=lambda row: offsets[row])
            relation = self.relations[row]
            return self.source.error(
                relation.place,
                f"{_shown(chosen[row])} cannot be isolated from {_quoted(relation)}: it also "
                "stands, with a higher derivative, in an integral, a delay or a derivative along "
                "another dimension",
            )
        index = max(offsets.values()) + (min(highest.values()) == 0)
        listed = []
        for row, times in offsets.items():
            if times:
                relation = self.relations[row]
                line = self.source.position(relation.place)[0]
                listed.append(f"{_quoted(relation)} (line {line}) {times} time{'s'[: times != 1]}")
        first = min(
            (row for row, times in offsets.items() if times),
            key=lambda row: self.relations[row].place,
        )
        more = " and more" if len(listed) > _LISTED else ""
        what = f"the equations have index {index}" if index > 1 else "the equations tie states"
        return self.source.error(
            self.relations[first].place,
            f"{what}: to find the highest derivatives, differentiate "
            f"{', '.join(listed[:_LISTED])}{more}. Put what that gives in the equations' place; "
            "initial values have to satisfy the equations themselves",
        )


def isolable(node: Node) -> bool:
    """Whether an unknown in the parts of a node may be isolated: not from other points' values."""
    condition = isinstance(node, Apply) and node.function in RELATIONS
    return not isinstance(node, Opaque) and not condition


def _shown(name: str) -> str:
    """An unknown as messages show it: a sub-system in an expression has a number as its name."""
    return re.sub(r"\[[0-9]+\]", "(...)", name)


def _quoted(relation: Relation) -> str:
    text = relation.text
    return f"'{text if len(text) <= 50 else text[:47] + '...'}'"


def _matching(edges: Sequence[Sequence[str]], rows: Iterable[int]) -> dict[str, int]:
    """A maximum matching by augmenting paths, from names to rows; earlier rows come first."""
    matched: dict[str, int] = {}
    for start in rows:
        # A breadth-first search for a free name; `before` is the row that each name came from.
        before: dict[str, int] = {}
        pending = collections.deque([start])
        end = None
        while pending and end is None:
            row = pending.popleft()
            for name in edges[row]:
                if name not in before:
                    before[name] = row
                    if name not in matched:
                        end = name
                        break
                    pending.append(matched[name])
        held = {row: name for name, row in matched.items()} if end is not None else {}
        while end is not None:
            row = before[end]
            matched[end] = row
            end = held.get(row)
    return matched
