"""In which order rules are applied, and when that has no end."""

import dataclasses
import operator
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...errors import CircuitError
from ..places import shorten
from .notation import Notation
from .rule import Rule

STRATEGIES = ("repeat", "once", "bottom-up", "top-down")
# Texts nest at most 100 deep, so what nests deeper has grown.
_DEEPEST = 200
# How far back a value is looked for among those that one node has had.
_LONGEST_CIRCLE = 50


@dataclasses.dataclass
class Rewriter:
    """Applies rules to nodes of one notation, `most` times at most over all nodes."""

    notation: Notation
    rules: Sequence[Rule]
    most: int

    def __post_init__(self):
        self.applied: Counter[str] = Counter()
        self.finished: dict[int, Any] = {}
        self.by_head: dict[Any, list[Rule]] = {}
        for rule in self.rules:
            head = self.notation.head(rule.left, pattern=True)
            self.by_head.setdefault(head, []).append(rule)

    def run(self, strategy: str, root: Any) -> Any:
        """The node after a strategy."""
        if strategy == "repeat":
            return self.repeat(root)
        if strategy == "bottom-up":
            return self.bottom_up(root)
        if strategy == "top-down":
            return self.top_down(root)
        return root if self.applied else self.once(root)

    def step(self, node: Any) -> tuple[Rule, Any] | None:
        """The first rule that changes a node, and what it makes of it."""
        for rule in self.by_head.get(self.notation.head(node), ()):
            for found in self.notation.rewritten(rule, node):
                if found != node:
                    self.count(rule)
                    return rule, found
        return None

    def count(self, rule: Rule) -> None:
        self.applied[rule.text] += 1
        if self.applied.total() > self.most:
            raise self.endless(self.applied.most_common(1)[0][0])

    def endless(self, rule: str) -> CircuitError:
        return CircuitError(
            f"rewrite: rules were applied {self.applied.total() - 1} times without an end, most "
            f"often '{rule}': does it apply to its own result? Take another strategy, or allow "
            "more with most=..."
        )

    def with_parts(self, node: Any, parts: Sequence[Any]) -> Any:
        before = self.notation.parts(node)
        same = len(before) == len(parts) and all(map(operator.is_, before, parts))
        return node if same else self.notation.rebuilt(node, parts)

    def once(self, node: Any) -> Any:
        found = self.step(node)
        if found is not None:
            return found[1]
        parts = list(self.notation.parts(node))
        for index, part in enumerate(parts):
            parts[index] = self.once(part)
            if self.applied:
                break
        return self.with_parts(node, parts)

    def bottom_up(self, node: Any) -> Any:
        node = self.with_parts(node, [self.bottom_up(part) for part in self.notation.parts(node)])
        found = self.step(node)
        return node if found is None else found[1]

    def top_down(self, node: Any, depth: int = 0) -> Any:
        found = self.step(node)
        if found is not None:
            rule, node = found
            if depth > _DEEPEST:
                raise self.endless(rule.text)
        parts = [self.top_down(part, depth + 1) for part in self.notation.parts(node)]
        return self.with_parts(node, parts)

    def repeat(self, node: Any, depth: int = 0) -> Any:
        """The node once no rule applies to it or its parts, from the leaves up."""
        seen: list[Any] = []
        trail: list[Rule] = []
        while True:
            if id(node) in self.finished:
                return node
            parts = [self.repeat(part, depth + 1) for part in self.notation.parts(node)]
            node = self.with_parts(node, parts)
            if node in seen:
                raise self.circle(node, trail[seen.index(node) :])
            found = self.step(node)
            if found is None:
                self.finished[id(node)] = node
                return node
            if len(seen) < _LONGEST_CIRCLE:
                seen.append(node)
                trail.append(found[0])
            rule, node = found
            if depth > _DEEPEST:
                raise self.endless(rule.text)

    def circle(self, node: Any, rules: Sequence[Rule]) -> CircuitError:
        """The error for rules that lead back to where they began."""
        named = " and ".join(f"'{text}'" for text in dict.fromkeys(rule.text for rule in rules))
        one = len({rule.text for rule in rules}) == 1
        return CircuitError(
            f"rewrite: {named} {'goes' if one else 'go'} round in circles: from "
            f"{shorten(self.notation.text(node), 60)} back to it. Leave one out, or take another "
            "strategy"
        )
