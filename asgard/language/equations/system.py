"""Relations between unknowns, and what each unknown evolves along."""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence

from ..places import Source
from .chain_rule import total_derivative
from .expanding import Relation, Reset
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


@dataclasses.dataclass(frozen=True)
class Orders:
    """To which order a relation differentiates each unknown.

    `free` are those unknowns that can be isolated, and where they can be.
    """

    free: Mapping[str, int]
    anywhere: Mapping[str, int]


@dataclasses.dataclass
class System:
    """Relations and the unknowns in them, where each stands first and what it evolves along.

    `resets` are of states among the unknowns. `others` are expressions beside the relations, of
    outputs and initial values.
    """

    source: Source
    names: Names
    pool: Pool
    relations: list[Relation]
    resets: list[Reset]
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
        resets: Sequence[Reset],
        places: Mapping[str, int],
        others: Sequence[int],
    ) -> "System":
        """The system, with derivatives along what unknowns evolve along by the chain rule.

        `others` are expressions beside the relations.
        """
        system = cls(source, names, pool, list(relations), list(resets), places, list(others))
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
        self._rebuild_others(change)

    def _rebuild_others(self, change: Callable[[int, Node], int | None]) -> None:
        """Replaces nodes in what stands beside the relations."""
        roots = list(self.others)
        for reset in self.resets:
            roots += [reset.target, reset.trigger, reset.value]
        new = self.pool.rebuilt(roots, change)
        self.others = [new[other] for other in self.others]
        self.resets = [
            dataclasses.replace(
                reset,
                target=new[reset.target],
                trigger=new[reset.trigger],
                value=new[reset.value],
            )
            for reset in self.resets
        ]

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
        new = pool.rebuilt(sides, change)
        self.relations = [
            dataclasses.replace(relation, left=new[relation.left], right=new[relation.right])
            for relation in self.relations
        ]
        self._rebuild_others(change)

    def orders(self, relation: Relation) -> "Orders":
        """The orders of the unknowns in a relation."""
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
        return Orders(free, anywhere)

    def claimed(self, relation: Relation) -> str | None:
        """The unknown that a left side is, or is the derivative of."""
        node = self.pool[relation.left]
        return node.name if isinstance(node, Variable) else None


def isolable(node: Node) -> bool:
    """Whether an unknown in the parts of a node may be isolated: not from other points' values."""
    condition = isinstance(node, Apply) and node.function in RELATIONS
    return not isinstance(node, Opaque) and not condition
