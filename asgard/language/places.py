"""Places in a text, for errors."""

import dataclasses

from ..errors import EquationError, ParseError


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """The line and the column of a letter, both counted from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def shorten(text: str, length: int = 40) -> str:
    """A text quoted for a message, cut to `length` characters."""
    return repr(str(text) if len(text) <= length else text[: length - 3] + "...")


@dataclasses.dataclass(frozen=True)
class Source:
    """A text of equations, and the argument that it is where that is not the main one.

    Places in it are offsets.
    """

    text: str
    argument: str = ""

    def error(self, place: int, message: str) -> EquationError:
        """The error of equations that can be read but say no system."""
        error = EquationError(self._from(message))
        error.located_at(self.text, *self.position(place))
        return error

    def syntax_error(self, place: int, message: str, expected: tuple[str, ...] = ()) -> ParseError:
        """The error of a text that cannot be read."""
        line, column = self.position(place)
        return ParseError(
            self._from(message), line=line, column=column, expected=expected, text=self.text
        )

    def position(self, place: int) -> tuple[int, int]:
        """The line and the column of a place, both counted from 1."""
        return line_and_column(self.text, place)

    def _from(self, message: str) -> str:
        return f"{self.argument}: {message}" if self.argument else message
