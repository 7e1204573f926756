"""Lines of the user's code, which errors name."""

import contextlib
import dataclasses
import inspect
import linecache
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...errors import CircuitError

# Code of this package, of Python and of installed packages is not the user's.
_OWN = (str(Path(__file__).parents[2]), "<@beartype", "<frozen", "<generated")
_PYTHON = sysconfig.get_paths()["stdlib"]


@dataclasses.dataclass(frozen=True)
class Place:
    """A line of a file."""

    file: str
    line: int

    def blame(self, error: CircuitError) -> CircuitError:
        """The error with this line added, unless it names one, or a place in a text."""
        if error.file is not None or error.column is not None:
            return error
        return error.in_code(self.file, self.line)

    def __str__(self) -> str:
        return f"{Path(self.file).name}, line {self.line}"


@contextlib.contextmanager
def blaming(place: Place | None) -> Iterator[None]:
    """Errors of circuits in the block name this line, unless they name one."""
    try:
        yield
    except CircuitError as error:
        if place is not None:
            place.blame(error)
        raise


def here() -> Place:
    """The line of the user's code that runs now."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_own(frame.f_code.co_filename):
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno)


def of_function(fn: Callable[..., Any]) -> Place | None:
    """Where a function begins."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    if code is None:
        code = getattr(type(fn).__call__, "__code__", None)
    if code is None:
        return None
    file, line = code.co_filename, code.co_firstlineno
    below = range(line, line + 20)  # decorators come first
    found = (n for n in below if linecache.getline(file, n).lstrip().startswith(("def ", "async ")))
    return Place(file, line if code.co_name == "<lambda>" else next(found, line))


def of_error(error: BaseException) -> Place | None:
    """The innermost line of the user's code that raised an error."""
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if not _is_own(frame.f_code.co_filename):
            found = Place(frame.f_code.co_filename, line)
    return found


def _is_own(file: str) -> bool:
    return file.startswith((*_OWN, _PYTHON)) or "-packages" in file
