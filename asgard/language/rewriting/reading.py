"""From text to rules."""

import dataclasses
import functools
import re
from collections.abc import Iterator

from ...circuits.fields import check_choice
from ...errors import CircuitError, ParseError
from ..equations import tree
from ..equations.reading import read_expression
from ..places import Source, shorten
from .arguments import Arguments
from .conditions import KINDS
from .rule import Condition, Rule, placeholder, placeholders

NOTATIONS = ("equations", "circuits")


@dataclasses.dataclass(frozen=True)
class Rules:
    """Rules as text, with a rule a line, of equations or of circuits.

    A line is `pattern => result` or `pattern => result where condition, condition`. Rules can be
    iterated over; two groups of one notation are joined by `+`.

    **Arguments:** `text`: the rules; `notation`: `"equations"` or `"circuits"`.

    **Raises:** `CircuitError` for wrong arguments. `ParseError` for a text that cannot be read,
    with line and column, when the rules are first used.

    ```python
    odd = ag.rules.Rules("sin(-[X]) => -sin([X])")
    ```
    """

    text: str
    notation: str = "equations"

    def __post_init__(self):
        if not isinstance(self.text, str):
            raise CircuitError(f"Rules are a text, not {type(self.text).__name__}")
        check_choice("Rules", "notation", self.notation, NOTATIONS)

    @functools.cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The rules. They are read at their first use: reading the library takes a while."""
        return read_rules(self.text, self.notation)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)

    def __add__(self, other: "Rules") -> "Rules":
        if not isinstance(other, Rules) or other.notation != self.notation:
            return NotImplemented
        return Rules(f"{self.text}\n{other.text}", self.notation)


def read_rules(text: str, notation: str) -> tuple[Rule, ...]:
    """The rules of a text. Raises `ParseError` for a text that cannot be read."""
    reader = _Reader(Source(text), notation)
    found = tuple(reader.rule(start, end) for start, end in _lines(text))
    if not found:
        raise reader.error(0, "the text has no rules")
    return found


def _lines(text: str) -> list[tuple[int, int]]:
    """Where each rule stands. Lines that begin with `where` or `=>`, or follow a comma, go on."""
    found: list[tuple[int, int]] = []
    for line in re.finditer(r"[^\n]+", text):
        bare = line.group().split("#")[0].rstrip()
        if not bare.strip():
            continue
        end = line.start() + len(bare)
        goes_on = re.match(r"\s*(where\b|=>)", bare) or (found and text[found[-1][1] - 1] == ",")
        if found and goes_on:
            found[-1] = (found[-1][0], end)
        else:
            found.append((line.start(), end))
    return found


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads the parts of one text. All places are those in the whole text."""

    source: Source
    notation: str

    def error(self, place: int, message: str, expected: tuple[str, ...] = ()) -> ParseError:
        return self.source.syntax_error(place, message, expected)

    def rule(self, start: int, end: int) -> Rule:
        text = re.sub(r"#[^\n]*", lambda comment: " " * len(comment.group()), self.source.text)
        arrow = text.find("=>", start, end)
        if arrow < 0:
            place = start + len(text[start:end]) - len(text[start:end].lstrip())
            raise self.error(place, "a rule is pattern => result, and here is no =>")
        where = re.compile(r"\bwhere\b").search(text, arrow, end)
        stop = where.start() if where else end
        left = self.expression(text, start, arrow)
        right = self.expression(text, arrow + 2, stop)
        if placeholder(left) is not None:
            raise self.error(left.place, "a pattern is more than a placeholder: it fits everything")
        known = placeholders(left)
        self.check_bound(right, known)
        conditions = self.conditions(text, where.end(), end) if where else ()
        for condition in conditions:
            for term in condition.terms:
                self.check_bound(term, known)
        if self.notation == "circuits":
            self.check_circuits(left, right, conditions)
        return Rule(" ".join(text[start:end].split()), self.notation, left, right, conditions)

    def expression(self, text: str, start: int, end: int) -> tree.Expression:
        """The part of the text from `start` to `end`, with its places in the whole text."""
        if not text[start:end].strip():
            before, after = text[:start].rstrip(), text[end:].lstrip()
            side = "pattern" if after.startswith("=>") or not before.endswith("=>") else "result"
            raise self.error(start, f"a rule is pattern => result, and the {side} is missing")
        for name in re.compile(r"\b_\w+_\b").finditer(text, start, end):
            raise self.error(
                name.start(), f"{name.group()} has underscores at both ends: rename it"
            )
        part = text[start:end]
        for brackets in re.finditer(r"\[([^\]\n]*)\]?", part):
            if not re.fullmatch(r"\[[A-Za-z][A-Za-z_0-9]*\]", brackets.group()):
                raise self.error(
                    start + brackets.start(), "a placeholder is a name in brackets, such as [X]"
                )
        blank = re.sub(r"[^\n]", " ", text[:start])
        try:
            found = read_expression(blank + part.replace("[", "_").replace("]", "_"))
        except ParseError as error:
            message = re.sub(r"\b_(\w+)_\b", r"[\1]", error.message)
            raise ParseError(
                message,
                line=error.line or 1,
                column=error.column or 1,
                expected=error.expected,
                text=self.source.text,
            ) from None
        self.check(found)
        return found

    def check(self, pattern: tree.Expression) -> None:
        """Raises for what no rule holds."""
        pending: list[tree.Expression | tree.Given] = [pattern]
        while pending:
            node = pending.pop()
            pending.extend(tree.children(node))
            if isinstance(node, tree.Call) and placeholder(tree.Name(node.function)) is not None:
                name = node.function[1:-1]
                raise self.error(
                    node.place, f"[{name}] stands for an expression, and cannot be called"
                )
            if isinstance(node, tree.Abstraction):
                raise self.error(node.place, "a rule has no abstraction: it names what it binds")

    def check_circuits(
        self, left: tree.Expression, right: tree.Expression, conditions: tuple[Condition, ...]
    ) -> None:
        """Raises for what is no circuit, and for placeholders that stand for two things."""
        arguments = Arguments(self.error)
        arguments.check(left, result=False)
        arguments.check(right, result=True)
        for condition in conditions:
            meaning = KINDS[condition.kind].about
            if meaning == "a circuit":
                arguments.check(condition.terms[0], result=True)
            else:
                arguments.stands(condition.terms[0], meaning)

    def check_bound(self, expression: tree.Expression, known: dict[str, int]) -> None:
        for name, place in placeholders(expression).items():
            if name not in known:
                hint = (
                    f": the pattern has {', '.join(f'[{one}]' for one in known)}" if known else ""
                )
                raise self.error(place, f"[{name}] does not stand in the pattern{hint}")

    def conditions(self, text: str, start: int, end: int) -> tuple[Condition, ...]:
        found = []
        for first, last in _listed(text, start, end):
            written = text[first:last]
            place = first + len(written) - len(written.lstrip())
            found.append(self.condition(text, place, first + len(written.rstrip())))
        return tuple(found)

    def condition(self, text: str, start: int, end: int) -> Condition:
        for name, kind in KINDS.items():
            match = kind.pattern.fullmatch(text, start, end)
            if match is not None and self.notation in kind.notations:
                spans = [match.span(key) for key in sorted(match.groupdict()) if "term" in key]
                words = [match[key] for key in sorted(match.groupdict()) if "word" in key]
                terms = tuple(self.term(text, *span, whole=name == "circuit") for span in spans)
                return Condition(name, terms, tuple(words))
        usages = tuple(
            f"'{kind.usage}'" for kind in KINDS.values() if self.notation in kind.notations
        )
        written = shorten(text[start:end])
        message = f"unknown condition {written}" if start < end else "a condition is missing"
        raise self.error(start, message, usages)

    def term(self, text: str, start: int, end: int, whole: bool) -> tree.Expression:
        if whole:
            return self.expression(text, start, end)
        bare = text[start:end]
        name = f"_{bare[1:-1]}_" if bare.startswith("[") else bare
        return tree.Name(name, place=start)


def _listed(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The parts of a text between its commas outside of parentheses."""
    cuts, depth = [start - 1], 0
    for place in range(start, end):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if text[place] == "," and depth == 0:
            cuts.append(place)
    return [(first + 1, last) for first, last in zip(cuts, [*cuts[1:], end], strict=True)]
