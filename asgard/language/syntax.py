"""From text to a tree of calls, and the errors of texts that have none."""

import functools
import importlib.resources
import re

import lark

from ..errors import ParseError
from .keywords import KEYWORDS, WORDS
from .places import line_and_column, shorten


def read(text: str) -> lark.Tree:
    """The tree of a text. Each call is a node `circuit`; its children are its name and arguments.

    Raises `ParseError` for a text that is no circuit.
    """
    try:
        return _parser().parse(text)
    except lark.UnexpectedInput as error:
        raise _syntax_error(text, error) from None


@functools.cache
def _parser() -> lark.Lark:
    grammar = (
        importlib.resources.files("asgard.language").joinpath("grammar.lark").read_text("utf-8")
    )
    return lark.Lark(
        grammar, parser="lalr", lexer="contextual", start="circuit", maybe_placeholders=False
    )


def _syntax_error(text: str, error: lark.UnexpectedInput) -> ParseError:
    token = error.token if isinstance(error, lark.UnexpectedToken) else None
    ended = token is not None and token.type == "$END"
    offset = len(text.rstrip()) if ended else error.pos_in_stream or 0
    call = _open_call(text, offset)
    # After a complete circuit the parser accepts nothing.
    accepted: set[str] = error.interactive_parser.accepts() or {"$END"}  # pyright: ignore
    if not text.strip():
        message = "the text is empty"
    elif ended:
        message = "the text ends too early"
    else:
        message = f"unexpected {shorten(token or text[offset])}"
        if call is None and "$END" in accepted:
            message += ": the circuit is complete before it"
    if call is not None:
        word, index = call
        message += f", in argument {index + 1} of {word}" if word else ", in parentheses"
        keyword = KEYWORDS.get(word.lower())
        if keyword is not None and keyword.kind(index) is None:
            message += f"; {keyword.usage(word)}"
    line, column = line_and_column(text, offset)
    return ParseError(
        message,
        line=line,
        column=column,
        expected=_expected(text[:offset], accepted, call),
        text=text,
    )


def _open_call(text: str, offset: int) -> tuple[str, int] | None:
    """The name of the call that is open at `offset`, and the index of the argument there."""
    depth = index = 0
    for position in range(min(offset, len(text)) - 1, -1, -1):
        letter = text[position]
        if letter == ")":
            depth += 1
        elif letter == "," and depth == 0:
            index += 1
        elif letter == "(" and depth > 0:
            depth -= 1
        elif letter == "(":
            return _last_word(text[:position]), index
    return None


def _last_word(text: str) -> str:
    words = re.findall(r"\w+(?=\s*\Z)", text[-200:])
    return words[-1] if words else ""


def _expected(before: str, accepted: set[str], call: tuple[str, int] | None) -> tuple[str, ...]:
    """What may follow `before`, in words: what the grammar accepts, limited by the keywords."""
    keyword = KEYWORDS.get(call[0].lower()) if call else None
    index = call[1] if call else 0
    last = KEYWORDS.get(_last_word(before).lower())
    words = []
    if "NAME" in accepted:
        kind = "circuit" if call is None else keyword.kind(index) if keyword else None
        if kind is not None:
            words.append(WORDS[kind])
        elif keyword is None:
            words.append("an argument")
    if "LPAR" in accepted and (last is None or last.kind(0) is not None):
        words.append("'('")
    if "COMMA" in accepted and (keyword is None or keyword.kind(index + 1) is not None):
        words.append("','")
    if "RPAR" in accepted and (keyword is None or keyword.accepts(index + 1)):
        words.append("')'")
    if "$END" in accepted:
        words.append("the end of the text")
    return tuple(words)
