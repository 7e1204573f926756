"""The errors that a user of the package can cause."""

import linecache
from collections.abc import Sequence
from typing import Any


class CircuitError(ValueError):
    """A circuit or an argument is wrong. Raised before anything is compiled.

    `atoms` are the atoms at fault, if there are any. An error in a circuit's text has `line` and
    `column`, which count from 1; one in a function that says a circuit has `file` and `line`.
    """

    file: str | None = None
    line: int | None = None
    column: int | None = None

    def __init__(self, message: str, *, atoms: Sequence[Any] = ()):
        super().__init__(message)
        self.atoms = tuple(atoms)

    def located_at(self, text: str, line: int, column: int) -> "CircuitError":
        """The same error, with its place in a circuit's text added to the message."""
        self.line, self.column = line, column
        self.args = (located(str(self), text, line, column),)
        return self

    def in_code(self, file: str, line: int) -> "CircuitError":
        """The same error, with the line of the user's code at fault added to the message."""
        self.file, self.line = file, line
        code = linecache.getline(file, line).strip()
        shown = f'\n  File "{file}", line {line}' + (f"\n    {code}" if code else "")
        self.args = (f"{self}{shown}",)
        return self


class DegreeError(CircuitError):
    """Wire counts of two circuits do not fit together."""


class DimensionError(CircuitError):
    """A dimension is unknown, missing or ambiguous."""


class LoopError(CircuitError):
    """A cycle that the calculus asked for cannot run."""


class ParseError(CircuitError):
    """A text, of a circuit, of equations or of rules, that cannot be read.

    `expected` lists what is allowed there.
    """

    def __init__(
        self,
        message: str,
        *,
        line: int = 1,
        column: int = 1,
        expected: tuple[str, ...] = (),
        text: str = "",
    ):
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.expected = expected
        self.text = text

    def __str__(self) -> str:
        message = self.message
        if self.expected:
            message += f" (expected {' or '.join(self.expected)})"
        return located(message, self.text, self.line or 1, self.column or 1)


class EquationError(CircuitError):
    """Equations that can be read but say no system.

    A name is undefined or ambiguous, there are too many equations or too few, an unknown cannot be
    isolated, or the index is above 1. `line` and `column` are those of the text at fault.
    """


class SimulationError(RuntimeError):
    """A run that failed. `status` says how. `ensemble` has the paths of an ensemble that failed."""

    def __init__(self, message: str, status: str):
        super().__init__(message)
        self.status = status
        self.ensemble: Any = None


class FitError(RuntimeError):
    """A fit that failed. `status` says how. `fit` is the result up to the failure."""

    def __init__(self, message: str, status: str):
        super().__init__(message)
        self.status = status
        self.fit: Any = None


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a run, an ensemble or a fit that shows its progress or has a checkpoint.

    `result` is the trajectory, ensemble or fit so far, and its `state`, where it has one, goes on
    from there. As any `KeyboardInterrupt` it passes `except Exception`.
    """

    def __init__(self, message: str, result: Any):
        super().__init__(message)
        self.result = result


class IdentifiabilityWarning(UserWarning):
    """Data that hardly tell some numbers of a circuit apart."""


def located(message: str, text: str, line: int, column: int) -> str:
    """A message with line and column before it, and the line with a caret below it."""
    where = f"line {line}, column {column}: {message}"
    lines = text.split("\n")
    if not 0 < line <= len(lines):
        return where
    # Of a long line show the part around the error; show unprintable characters as dots.
    start = max(0, column - 61)
    shown = lines[line - 1][start : start + 100].replace("\t", " ")
    shown = "".join(letter if letter.isprintable() else "·" for letter in shown)
    return f"{where}\n  {shown}\n  {' ' * (column - 1 - start)}^"
