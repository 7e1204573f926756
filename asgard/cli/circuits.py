"""Circuits given as text to a command."""

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any

import lark

from ..circuits.circuit import Circuit
from ..circuits.graph import Graph, flatten
from ..errors import CircuitError, LoopError
from ..language.parse import parse
from ..language.syntax import read

_COMBINATORS = ("composition", "monoidal", "trace")


def read_text(argument: str) -> str:
    """The text of an argument; `-` stands for what comes from stdin."""
    if argument != "-":
        return argument
    try:
        return sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        raise CircuitError(f"stdin cannot be read as text: {error}") from error


def says_equations(text: str) -> bool:
    """Whether a text says equations, and not a circuit: no text of a circuit has an equals sign."""
    return "=" in text or re.match(r"\s*sde\s*\(", text) is not None


def read_circuit(text: str) -> tuple[Circuit, Graph]:
    """The circuit that a text says, and its wiring graph."""
    circuit = parse(text)
    try:
        return circuit, flatten(circuit)
    except LoopError as error:
        # A closed loop without atoms: point at the first trace.
        token = next(token for token in _calls(text) if token.lower() == "trace")
        raise error.located_at(text, token.line or 1, token.column or 1) from None


def _calls(text: str) -> Iterator[lark.Token]:
    """The word of each call in a circuit's text, from left to right, without those in a compose."""
    pending: list[Any] = [read(text)]
    while pending:
        word, *arguments = pending.pop().children
        yield word
        if word.lower() in _COMBINATORS:
            calls = [argument for argument in arguments if isinstance(argument, lark.Tree)]
            pending.extend(reversed(calls))


@contextlib.contextmanager
def located_in(text: str, circuit: Circuit) -> Iterator[None]:
    """Adds to an error about atoms where the first of them is in the circuit's text."""
    try:
        yield
    except CircuitError as error:
        # The parts of the circuit and the words of its text have one order.
        words = (word for word in _calls(text) if word.lower() not in _COMBINATORS)
        for word, part in zip(words, circuit.parts, strict=True):
            if any(part is atom for atom in error.atoms):
                raise error.located_at(text, word.line or 1, word.column or 1) from None
        raise
