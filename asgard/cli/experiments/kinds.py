"""The kinds of values that an experiment holds, and the errors of what is of another kind."""

import abc
import dataclasses
import datetime
import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from .document import Document, Path, printable

_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_MOST_ENTRIES = 1_000_000


class Kind(abc.ABC):
    """What the value of a key must be."""

    words: str
    # The types of values that this kind reads, right or wrong.
    types: ClassVar[tuple[type, ...]]

    def takes(self, value: Any) -> bool:
        """Whether a value is of such a type. In Python true and false are numbers, too."""
        return isinstance(value, self.types) and (bool in self.types or not isinstance(value, bool))

    @abc.abstractmethod
    def read(self, value: Any, path: Path, document: Document) -> Any:
        """The value, checked. Raises `InputError`."""

    def check(self, holds: bool, value: Any, path: Path, document: Document) -> None:
        if not holds:
            raise document.fault(path, f"found {found(value)}, expected {self.words}")


@dataclasses.dataclass(frozen=True)
class Text(Kind):
    """A text that is not empty, and of so many letters in a line at most; 0 for any text."""

    types: ClassVar[tuple[type, ...]] = (str,)
    words: str = "a text"
    line: int = 0

    def read(self, value: Any, path: Path, document: Document) -> str:
        right = isinstance(value, str) and len(value.strip()) > 0
        if right and self.line:
            right = len(value) <= self.line and value.isprintable()
        self.check(right, value, path, document)
        return value


@dataclasses.dataclass(frozen=True)
class Name(Kind):
    """A name, as those of wires and parameters are."""

    types: ClassVar[tuple[type, ...]] = (str,)
    words: str = "a name of letters, digits and _"

    def read(self, value: Any, path: Path, document: Document) -> str:
        right = isinstance(value, str) and _NAME.fullmatch(value) is not None
        self.check(right, value, path, document)
        return value


@dataclasses.dataclass(frozen=True)
class Number(Kind):
    """A finite number."""

    types: ClassVar[tuple[type, ...]] = (int, float)
    words: str = "a number"
    least: float = -math.inf
    above: float = -math.inf

    def read(self, value: Any, path: Path, document: Document) -> float:
        self.check(self.takes(value), value, path, document)
        number = _as_float(value)
        right = math.isfinite(number) and number >= self.least and number > self.above
        self.check(right, value, path, document)
        return number


@dataclasses.dataclass(frozen=True)
class Count(Kind):
    """A whole number within bounds."""

    types: ClassVar[tuple[type, ...]] = (int,)
    least: int
    most: int

    @property
    def words(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return f"a whole number from {self.least} to {self.most:,}"

    def read(self, value: Any, path: Path, document: Document) -> int:
        right = self.takes(value) and self.least <= value <= self.most
        self.check(right, value, path, document)
        return value


@dataclasses.dataclass(frozen=True)
class Flag(Kind):
    """true or false."""

    types: ClassVar[tuple[type, ...]] = (bool,)
    words: str = "true or false"

    def read(self, value: Any, path: Path, document: Document) -> bool:
        self.check(self.takes(value), value, path, document)
        return value


@dataclasses.dataclass(frozen=True)
class Choice(Kind):
    """One of some words, or of some numbers."""

    types: ClassVar[tuple[type, ...]] = (str, int)
    options: tuple[str | int, ...]

    @property
    def words(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "one of " + ", ".join(map(_quoted, self.options))

    def read(self, value: Any, path: Path, document: Document) -> Any:
        if not self.takes(value) or value not in self.options:
            near = did_you_mean(value, [one for one in self.options if isinstance(one, str)])
            raise document.fault(path, f"found {found(value)}, expected {self.words}{near}")
        return value


@dataclasses.dataclass(frozen=True)
class Numbers(Kind):
    """An array of numbers, of any shape unless `axes` says how many it has."""

    types: ClassVar[tuple[type, ...]] = (list,)
    axes: int | None = None

    @property
    def words(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "an array of numbers" if self.axes == 1 else "numbers, nested as an array"

    def read(self, value: Any, path: Path, document: Document) -> np.ndarray:
        self.check(isinstance(value, list) and len(value) > 0, value, path, document)
        self._entries(value, path, document)
        try:
            array = np.array(value, np.float64)
        except (ValueError, OverflowError):
            shapes = f"found rows of different shapes, expected {self.words}"
            raise document.fault(path, shapes) from None
        if self.axes is not None and array.ndim != self.axes:
            shape = f"found an array of the shape {list(array.shape)}, expected {self.words}"
            raise document.fault(path, shape)
        return array

    def _entries(self, value: list[Any], path: Path, document: Document) -> None:
        pending: list[tuple[Path, Any]] = [(path, value)]
        count = 0
        while pending:
            where, one = pending.pop()
            count += 1
            self.check(count <= _MOST_ENTRIES, value, path, document)
            if isinstance(one, list):
                pending.extend(((*where, index), part) for index, part in enumerate(one))
            else:
                Number().read(one, where, document)


@dataclasses.dataclass(frozen=True)
class Listed(Kind):
    """An array of values of one kind."""

    types: ClassVar[tuple[type, ...]] = (list,)
    kind: Kind
    words: str
    least: int = 0

    def read(self, value: Any, path: Path, document: Document) -> tuple[Any, ...]:
        right = isinstance(value, list) and len(value) >= self.least
        self.check(right, value, path, document)
        return tuple(
            self.kind.read(one, (*path, index), document) for index, one in enumerate(value)
        )


@dataclasses.dataclass(frozen=True)
class Named(Kind):
    """A table whose keys are names that the user chooses."""

    types: ClassVar[tuple[type, ...]] = (dict,)
    kind: Kind
    words: str

    def read(self, value: Any, path: Path, document: Document) -> dict[str, Any]:
        self.check(self.takes(value), value, path, document)
        return {key: self.kind.read(one, (*path, key), document) for key, one in value.items()}


@dataclasses.dataclass(frozen=True)
class Either(Kind):
    """A value of one of several kinds."""

    kinds: tuple[Kind, ...]
    words: str

    def takes(self, value: Any) -> bool:
        return any(kind.takes(value) for kind in self.kinds)

    def read(self, value: Any, path: Path, document: Document) -> Any:
        self.check(self.takes(value), value, path, document)
        return next(kind for kind in self.kinds if kind.takes(value)).read(value, path, document)


class Section:
    """A table of declared keys. Subclasses are dataclasses, whose fields are made by `key`."""

    path: Path


def key(kind: Kind, help: str, *, default: Any = dataclasses.MISSING, name: str = "") -> Any:
    """A field that a key of a table fills. One without a default must be there."""
    metadata = {"kind": kind, "help": help, "name": name}
    if callable(default):
        return dataclasses.field(metadata=metadata, default_factory=default)
    return dataclasses.field(metadata=metadata, default=default)


def keys_of(section: type[Section]) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a section by the keys that fill them."""
    fields = dataclasses.fields(section)  # pyright: ignore[reportArgumentType]
    return {one.metadata["name"] or one.name: one for one in fields if "kind" in one.metadata}


@dataclasses.dataclass(frozen=True)
class Table(Kind):
    """A table of declared keys, read as a section.

    `elsewhere` says of keys that the section lacks which others have them.
    """

    types: ClassVar[tuple[type, ...]] = (dict,)
    section: type[Section]
    words: str = "a table"
    elsewhere: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def read(self, value: Any, path: Path, document: Document) -> Any:
        self.check(self.takes(value), value, path, document)
        keys = keys_of(self.section)
        for name in value:
            if name not in keys:
                hint = self.elsewhere.get(name) or _known(name, keys)
                raise document.fault((*path, name), f"there is no such key{hint}")
        values = {}
        for name, field in keys.items():
            kind: Kind = field.metadata["kind"]
            if name in value:
                values[field.name] = kind.read(value[name], (*path, name), document)
            elif field.default is field.default_factory is dataclasses.MISSING:
                missing = f"the key {name} is missing: {field.metadata['help']}, {kind.words}"
                raise document.fault(path, missing)
        return self.section(path=path, **values)  # pyright: ignore[reportCallIssue]


@dataclasses.dataclass(frozen=True)
class Variant(Kind):
    """A table whose keys depend on which of several sections it is, as `which` finds out."""

    types: ClassVar[tuple[type, ...]] = (dict,)
    sections: Mapping[str, type[Section]]
    which: Callable[[Any, Path, Document], str]
    words: str = "a table"

    def read(self, value: Any, path: Path, document: Document) -> Any:
        self.check(self.takes(value), value, path, document)
        name = self.which(value, path, document)
        elsewhere = {
            key: f": it is for {other}, and this is {name}"
            for other, section in self.sections.items()
            for key in keys_of(section)
        }
        return Table(self.sections[name], self.words, elsewhere).read(value, path, document)


def found(value: Any) -> str:
    """What was found, for a message."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text {_quoted(value)}"
        case int() | float():
            return printable(_digits(value), 40)
        case list():
            return f"an array of {len(value)}"
        case dict():
            return "a table"
        case datetime.date() | datetime.time():
            return "a date or a time"
    return printable(repr(value), 40)


def did_you_mean(name: Any, names: Iterable[str]) -> str:
    """A hint at the nearest of some names, empty where none is near."""
    near = difflib.get_close_matches(name, list(names), n=1) if isinstance(name, str) else []
    return f"; did you mean {near[0]}?" if near else ""


def _known(name: str, keys: Iterable[str]) -> str:
    return did_you_mean(name, keys) or f"; they are {', '.join(keys)}"


def _quoted(value: Any) -> str:
    return f'"{printable(value, 40)}"' if isinstance(value, str) else str(value)


def _digits(value: int | float) -> str:
    try:
        return str(value)
    except ValueError:  # more digits than Python prints
        return "a number of thousands of digits"


def _as_float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
