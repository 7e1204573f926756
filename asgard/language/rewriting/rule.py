"""A rule as data: two patterns and conditions."""

import dataclasses

from ..equations import tree


@dataclasses.dataclass(frozen=True)
class Condition:
    """What a rule asks of what its placeholders stand for.

    `kind` is a row of the table in `conditions.py`, `terms` are what the row speaks of, and `words`
    the rest, such as the wire counts in `[F] is 1 -> 1`.
    """

    kind: str
    terms: tuple[tree.Expression, ...]
    words: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Rule:
    """`left => right where conditions`. `str` of it is its text.

    Both notations are read by the grammar of equations, in which a circuit such as
    `composition([F], id)` is a call. A placeholder `[X]` is the name `_X_`: see `placeholder`.
    """

    text: str
    notation: str
    left: tree.Expression
    right: tree.Expression
    conditions: tuple[Condition, ...]

    def __str__(self) -> str:
        return self.text


def placeholder(node: tree.Expression | tree.Given) -> str | None:
    """The name of a placeholder; None of what is none."""
    if isinstance(node, tree.Name) and len(node.name) > 2 and node.name[0] == node.name[-1] == "_":
        return node.name[1:-1]
    return None


def placeholders(node: tree.Expression) -> dict[str, int]:
    """The placeholders of a pattern, each with the first place where it stands."""
    found: dict[str, int] = {}
    pending: list[tree.Expression | tree.Given] = [node]
    while pending:
        current = pending.pop()
        name = placeholder(current)
        if name is not None:
            found.setdefault(name, current.place)
        pending.extend(reversed(tree.children(current)))
    return found
