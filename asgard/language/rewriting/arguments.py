"""What the placeholders of a rule for circuits stand for: checks of the arguments of keywords."""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

from ...errors import ParseError
from ..equations import tree
from ..keywords import KEYWORDS, WORDS
from ..places import shorten
from .rule import placeholder

# From the kinds of arguments in `keywords` to what a placeholder stands for.
_STANDS_FOR = {
    "circuit": "a circuit",
    "count": "a number",
    "degree": "a number",
    "number": "a number",
    "exponent": "a number",
    "index": "a number",
    "dimension": "a name",
    "noise": "a name",
    "wire": "a name",
}
ORDER = "an order of wires"
_ARITHMETIC = (tree.Sum, tree.Product, tree.Negative, tree.Reciprocal, tree.Power)


@dataclasses.dataclass
class Arguments:
    """Checks the circuits of one rule. `error` makes an error at a place of the text.

    `known` is what each placeholder stands for, as far as it is found.
    """

    error: Callable[..., ParseError]
    known: dict[str, str] = dataclasses.field(default_factory=dict)

    def check(self, circuit: tree.Expression, result: bool) -> None:
        """Raises for what is no circuit by its keywords; in a result numbers may be computed."""
        if self.stands(circuit, "a circuit"):
            return
        word, arguments = call_of(circuit)
        if word is None:
            raise self.error(circuit.place, "a circuit is a keyword, such as id or scalar([A])")
        keyword = KEYWORDS.get(word.lower())
        if keyword is None or word.lower() == "compose":
            near = difflib.get_close_matches(word.lower(), KEYWORDS, n=1)
            hint = f"did you mean {near[0]}?" if near else "rules know the keywords of ag.parse"
            hint = hint if keyword is None else "rules do not look into it"
            raise self.error(circuit.place, f"unknown circuit {shorten(word)}; {hint}")
        if not keyword.accepts(len(arguments)):
            raise self.error(circuit.place, f"{keyword.usage(word)}; it is given {len(arguments)}")
        for index, argument in enumerate(arguments):
            kind = str(keyword.kind(index))
            if kind == "circuit":
                self.check(argument, result)
            elif kind == "index" and len(arguments) == 1 and self.order(argument, result):
                continue
            elif not self.argument(argument, _STANDS_FOR[kind], result):
                shown = shorten(tree.expression_text(argument).replace("_", ""))
                message = f"unexpected {shown}, in argument {index + 1} of {word}"
                raise self.error(argument.place, message, (WORDS[kind],))

    def stands(self, node: Any, meaning: str) -> bool:
        """Whether a node is a placeholder. Raises where it stands for something else elsewhere."""
        name = placeholder(node)
        if name is not None and self.known.setdefault(name, meaning) != meaning:
            raise self.error(
                node.place, f"[{name}] stands for {self.known[name]}, and here for {meaning}"
            )
        return name is not None

    def argument(self, node: Any, meaning: str, result: bool) -> bool:
        """Whether a node is a number, or a name."""
        if self.stands(node, meaning):
            return True
        if meaning == "a name":
            return isinstance(node, tree.Name)
        if isinstance(node, tree.Call) and node.function == "size" and result:
            return len(node.arguments) == 1 and self.order(node.arguments[0], result)
        if isinstance(node, _ARITHMETIC if result else tree.Negative):
            return all(self.argument(part, meaning, result) for part in tree.children(node))
        return isinstance(node, tree.Number)

    def order(self, node: Any, result: bool) -> bool:
        """Whether a node is an order of wires."""
        if placeholder(node) is not None:
            return self.stands(node, ORDER)
        if not isinstance(node, tree.Call) or not result:
            return False
        if node.function == "order":
            return all(isinstance(argument, tree.Number) for argument in node.arguments)
        orders = [self.order(argument, result) for argument in node.arguments]
        return node.function == "after" and len(orders) == 2 and all(orders)


def call_of(pattern: tree.Expression) -> tuple[str | None, tuple[tree.Expression, ...]]:
    """The word of a circuit and its arguments; None of what is no word."""
    if isinstance(pattern, tree.Name):
        return pattern.name, ()
    if isinstance(pattern, tree.Call) and not any(
        isinstance(argument, tree.Given) for argument in pattern.arguments
    ):
        return pattern.function, tuple(pattern.arguments)  # pyright: ignore
    return None, ()
