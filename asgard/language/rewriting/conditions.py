"""What rules may ask of what their placeholders stand for, in words."""

import dataclasses
import re

from .arguments import ORDER

EQUATIONS = ("equations",)
CIRCUITS = ("circuits",)
BOTH = EQUATIONS + CIRCUITS


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of condition: how it is written, and in which notations.

    Each `term` of the pattern is an expression, each other group is a word. Of circuits, `about` is
    what the first term stands for.
    """

    usage: str
    pattern: re.Pattern[str]
    notations: tuple[str, ...]
    about: str = "a number"


def _kind(usage: str, pattern: str, notations: tuple[str, ...], about: str = "a number") -> Kind:
    return Kind(usage, re.compile(pattern), notations, about)


_HOLE = r"(?P<term1>\[\w+\])"

KINDS: dict[str, Kind] = {
    "number": _kind("[A] is a number", rf"{_HOLE}\s+is\s+a\s+number", BOTH),
    "integer": _kind("[N] is an integer", rf"{_HOLE}\s+is\s+an\s+integer", BOTH),
    "constant": _kind("[A] is constant", rf"{_HOLE}\s+is\s+constant", EQUATIONS),
    "free": _kind(
        "[F] is free of [X]", rf"{_HOLE}\s+is\s+free\s+of\s+(?P<term2>\[\w+\]|\w+)", EQUATIONS
    ),
    "degrees": _kind(
        "[F] is 1 -> 1",
        rf"{_HOLE}\s+is\s+(?P<word1>\d+|n)\s*->\s*(?P<word2>\d+|n)",
        CIRCUITS,
        "a circuit",
    ),
    "in order": _kind("[P] is in order", rf"{_HOLE}\s+is\s+in\s+order", CIRCUITS, ORDER),
    "circuit": _kind(
        "composition([F], [G]) is a circuit",
        r"(?P<term1>.*\S)\s+is\s+a\s+circuit",
        CIRCUITS,
        "a circuit",
    ),
}
