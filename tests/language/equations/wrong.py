"""What tests of wrong equations share."""

from typing import Any

import pytest

import asgard as ag


def refused(text: str, line: int, column: int, message: str, **said: Any) -> None:
    """Checks that equations are refused at a place, and that the message shows it."""
    with pytest.raises(ag.EquationError, match=message) as raised:
        ag.equations(text, **said)
    error = raised.value
    assert (error.line, error.column) == (line, column), str(error)
    first, shown, caret = str(error).split("\n")
    assert first.startswith(f"line {line}, column {column}: ")
    assert caret.index("^") == column + 1
    assert shown.strip()
