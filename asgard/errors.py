"""What can go wrong, by name. Every error a user can cause is one of these."""


class CircuitError(ValueError):
    """A circuit, or what is asked of it, is wrong. Raised before anything is compiled."""


class DegreeError(CircuitError):
    """Wire counts of two circuits do not fit together."""


class DimensionError(CircuitError):
    """A dimension is unknown, missing or ambiguous."""


class LoopError(CircuitError):
    """A cycle that the calculus asked for cannot run."""


class ParseError(CircuitError):
    """A circuit text that cannot be read.

    `line` and `column` count from 1; `expected` lists what could have stood there.
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
        where = f"line {self.line}, column {self.column}: {self.message}"
        if self.expected:
            where += f" (expected {', '.join(self.expected)})"
        lines = self.text.splitlines()
        if 0 < self.line <= len(lines):
            # A long line is shown about the offending place only.
            line, caret = lines[self.line - 1], self.column - 1
            start = max(0, caret - 60)
            where += f"\n  {line[start : start + 100]}\n  {' ' * (caret - start)}^"
        return where


class SimulationError(RuntimeError):
    """A run that failed. `status` says how."""

    def __init__(self, message: str, status: str):
        super().__init__(message)
        self.status = status
