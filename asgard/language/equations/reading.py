"""From the text of equations to its syntax tree."""

import functools
import importlib.resources
from collections.abc import Iterable, Iterator
from typing import Any

import jax.numpy as jnp
import lark
import numpy as np

from ...errors import ParseError
from ..places import Source, shorten
from . import tree
from .hints import advice

# Deeper texts are refused: trees are compared and hashed by recursion.
_DEEPEST = 100
_OPERATORS = {"SIGN", "TIMES", "COMPARISON", "EQUAL", "CIRCUMFLEX", "COMMA", "DOT", "ARROW"}
_OPENING = {"LPAR": 1, "RPAR": -1}
# What the grammar's terminals are, in words. The others are part of these.
_WORDS = {
    "NAME": "a term",
    "SIGN": "an operator",
    "EQUAL": "'='",
    "LPAR": "'('",
    "RPAR": "')'",
    "COMMA": "','",
    "DOT": "'.'",
    "ARROW": "'->'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "_END": "the end of the line",
}


def read(text: str) -> tree.System:
    """The tree of a system of equations. `read(str(x)) == x`.

    Raises `ParseError` for a text that cannot be read.
    """
    return tree.System(tuple(_read(Source(text), "start")))


def read_expression(text: str, argument: str = "") -> tree.Expression:
    """The tree of one expression, in the notation of equations.

    `argument` is that of a function which the text is, for errors.
    """
    return _read(Source(text, argument), "expression")


def _read(source: Source, start: str) -> Any:
    try:
        found = _parser().parse(source.text, start=start)
    except lark.UnexpectedInput as error:
        raise _syntax_error(source, error) from None
    except _Unreadable as error:
        raise source.syntax_error(error.place, error.message) from None
    if found == ():
        raise source.syntax_error(0, "the text has no equations")
    _check_depth(source, found if isinstance(found, tuple) else (found,))
    return found


@functools.cache
def _parser() -> lark.Lark:
    files = importlib.resources.files("asgard.language.equations")
    return lark.Lark(
        files.joinpath("grammar.lark").read_text("utf-8"),
        parser="lalr",
        lexer="basic",
        start=["start", "expression"],
        maybe_placeholders=True,
        postlex=_Lines(),
        transformer=_Builder(),
    )


class _Lines(lark.lark.PostLex):
    """Keeps the ends of lines that end a statement.

    Those that do not: inside of parentheses, at the ends of the text and of braces, after another
    one, and beside an operator: a line that ends or begins with an operator goes on.
    """

    always_accept = ()

    def process(self, stream: Iterator[lark.Token]) -> Iterator[lark.Token]:
        depth = 0
        before = "_END"
        held = None
        for token in stream:
            if token.type == "_END":
                if depth == 0 and before not in _OPERATORS | {"LBRACE", "_END"}:
                    held = token
                continue
            if held is not None and token.type not in _OPERATORS | {"RPAR", "RBRACE"}:
                yield held
            held = None
            depth = max(0, depth + _OPENING.get(token.type, 0))
            before = token.type
            yield token


class _Unreadable(Exception):
    """A text that the grammar accepts and that is none."""

    def __init__(self, place: int, message: str):
        super().__init__(message)
        self.place = place
        self.message = message


def _at(token: lark.Token) -> int:
    return token.start_pos or 0


@lark.v_args(inline=True)
class _Builder(lark.Transformer):
    """Builds the tree from its leaves up, while the text is parsed."""

    def start(self, *statements: Any) -> tuple[Any, ...]:
        return statements

    def number(self, token: lark.Token) -> tree.Number:
        value = float(token)
        dtype = np.dtype(jnp.result_type(float))
        with np.errstate(over="ignore"):
            held = np.asarray(value).astype(dtype)
        if not np.isfinite(held):
            raise _Unreadable(_at(token), f"{shorten(token)} is more than {dtype} holds")
        return tree.Number(value, place=_at(token))

    def name(self, token: lark.Token) -> tree.Name:
        return tree.Name(str(token), place=_at(token))

    def parameter(self, token: lark.Token) -> tree.Parameter:
        return tree.Parameter(str(token), place=_at(token) - 1)

    def output(self, system: lark.Token, name: lark.Token) -> tree.Output:
        return tree.Output(str(system), str(name), place=_at(system))

    def signed(self, sign: lark.Token, body: Any) -> Any:
        return tree.Negative(body, place=_at(sign)) if sign == "-" else body

    def sum(self, first: Any, *parts: Any) -> tree.Sum:
        terms = [first]
        for sign, part in zip(parts[::2], parts[1::2], strict=True):
            subtracted = str(sign) == "-"
            terms.append(tree.Negative(part, place=_at(sign)) if subtracted else part)
        return tree.Sum(tuple(terms), place=first.place)

    def product(self, first: Any, *parts: Any) -> Any:
        factors = [first]
        for operator, part in zip(parts[::2], parts[1::2], strict=True):
            factors.append(tree.Reciprocal(part, place=part.place) if operator == "/" else part)
        return tree.Product(tuple(factors), place=first.place)

    def power(self, base: Any, exponent: Any) -> tree.Power:
        return tree.Power(base, exponent, place=base.place)

    def comparison(self, left: Any, relation: lark.Token, right: Any) -> tree.Comparison:
        return tree.Comparison(str(relation), left, right, place=left.place)

    def given(self, name: lark.Token, value: Any) -> tree.Given:
        return tree.Given(str(name), value, place=_at(name))

    def call(self, function: lark.Token, *arguments: Any) -> tree.Call:
        return tree.Call(str(function), arguments, place=_at(function))

    def names(self, *names: lark.Token) -> tuple[lark.Token, ...]:
        for index, name in enumerate(names):
            if name in names[:index]:
                raise _Unreadable(_at(name), f"{name} stands here twice")
        return names

    def abstraction(self, names: tuple[lark.Token, ...], body: Any) -> tree.Abstraction:
        return tree.Abstraction(tuple(map(str, names)), body, place=_at(names[0]))

    def equation(self, left: Any, right: Any) -> tree.Equation:
        return tree.Equation(left, right, place=left.place)

    def definition(
        self, name: lark.Token, inputs: Any, _: lark.Token, outputs: Any, *statements: Any
    ) -> tree.Definition:
        return tree.Definition(
            str(name),
            tuple(map(str, inputs or ())),
            tuple(map(str, outputs)),
            statements,
            place=_at(name),
        )


def _check_depth(source: Source, roots: Iterable[Any]) -> None:
    """Raises `ParseError` where the tree is deeper than `_DEEPEST`."""
    pending = [(root, 0) for root in roots]
    while pending:
        node, depth = pending.pop()
        if depth > _DEEPEST:
            raise source.syntax_error(node.place, f"this nests more than {_DEEPEST} deep")
        match node:
            case tree.Equation(left, right):
                parts: Iterable[Any] = (left, right)
            case tree.Definition():
                parts = node.statements
            case _:
                parts = tree.children(node)
        pending.extend((part, depth + 1) for part in parts)


def _syntax_error(source: Source, error: lark.UnexpectedInput) -> ParseError:
    text = source.text
    token = error.token if isinstance(error, lark.UnexpectedToken) else None
    ended = token is not None and token.type == "$END"
    place = len(text.rstrip()) if ended else error.pos_in_stream or 0
    accepted: set[str] = error.accepts if isinstance(error, lark.UnexpectedToken) else set()
    if ended:
        message = "the text ends too early"
    elif token is not None and token.type == "_END":
        message = "the line ends too early"
    else:
        message = f"unexpected {shorten(token or text[place])}"
        message += advice(text, place, accepted)
    opened = _opened(text[:place])
    if opened is not None and token is not None:
        line, column = source.position(opened)
        message += f", in the parentheses that open at line {line}, column {column}"
    expected = [words for terminal, words in _WORDS.items() if terminal in accepted]
    # What a whole equation may end with says nothing.
    shown = () if len(expected) > 4 else tuple(expected)
    return source.syntax_error(place, message, shown)


def _opened(text: str) -> int | None:
    """Where the innermost parenthesis opens that is open at the end of the text."""
    found: list[int] = []
    comment = False
    for place, letter in enumerate(text):
        comment = letter == "#" or (comment and letter != "\n")
        if comment:
            continue
        if letter == "(":
            found.append(place)
        elif letter == ")" and found:
            found.pop()
    return found[-1] if found else None
