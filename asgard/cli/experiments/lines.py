"""On which line of a TOML text each key stands.

`tomllib` reads a text and forgets where things were. This walks through a text that `tomllib` has
read, so it takes for granted that the text is right.
"""

import bisect
import dataclasses
import re
import tomllib

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\n,]+|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\]|\\.)*"')
_LITERAL = re.compile(r"'[^']*'")
_LONG = {
    '"""': re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL),
    "'''": re.compile(r"'''(?:[^']|'(?!''))*'{3,5}", re.DOTALL),
}
# A number, a truth or a time: all up to what ends it.
_SCALAR = re.compile(r"[^,\]}#\n]*")


@dataclasses.dataclass(frozen=True)
class Lines:
    """Lines, counted from 1.

    - `keys`: where each key, table and entry of an array stands first.
    - `texts`: where the contents of a text begin, which is below its key for one in three quotes.
    """

    keys: dict[Path, int]
    texts: dict[Path, int]


def lines_of(text: str) -> Lines:
    """The lines of all that a TOML text says. Lines end in a plain newline."""
    scanner = _Scanner(text)
    scanner.document()
    return Lines(scanner.keys, scanner.texts)


class _Scanner:
    def __init__(self, text: str):
        self.text = text
        self.at = 0
        self.keys: dict[Path, int] = {}
        self.texts: dict[Path, int] = {}
        self._ends = [index for index, letter in enumerate(text) if letter == "\n"]
        # How many tables each array of tables has so far.
        self._counts: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        while self._blank():
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _line(self) -> int:
        return bisect.bisect_left(self._ends, self.at) + 1

    def _blank(self) -> bool:
        """Skips what says nothing, commas too. False at the end."""
        self._take(_BLANK)
        return self.at < len(self.text)

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        return found[0]

    def _mark(self, path: Path, line: int) -> None:
        """Keeps a line for a path, and for the tables on the way to it."""
        for length in range(1, len(path) + 1):
            self.keys.setdefault(path[:length], line)

    def _header(self) -> Path:
        line = self._line()
        many = self.text.startswith("[[", self.at)
        self.at += 2 if many else 1
        *parents, last = self._key()
        self.at = self.text.index("]", self.at) + (2 if many else 1)
        path: Path = ()
        for part in parents:
            path = self._last_of((*path, part))
        path = (*path, last)
        if many:
            self._counts[path] = self._counts.get(path, 0) + 1
        path = self._last_of(path)
        self._mark(path, line)
        return path

    def _last_of(self, path: Path) -> Path:
        """The table that a header means: of an array of tables the last."""
        return (*path, self._counts[path] - 1) if path in self._counts else path

    def _key(self) -> list[str]:
        """The parts of a key, `a."b c".d`, up to what follows it."""
        parts = []
        while True:
            self._take(re.compile(r"[ \t]*"))
            first = self.text[self.at]
            if first == '"':
                parts.append(tomllib.loads(f"key = {self._take(_BASIC)}")["key"])
            elif first == "'":
                parts.append(self._take(_LITERAL)[1:-1])
            else:
                parts.append(self._take(_BARE))
            self._take(re.compile(r"[ \t]*"))
            if self.text[self.at] != ".":
                return parts
            self.at += 1

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = (*table, *self._key())
        self._mark(path, line)
        self.at += 1  # the =
        self._take(re.compile(r"[ \t]*"))
        self._value(path)

    def _value(self, path: Path) -> None:
        first = self.text[self.at]
        quotes = self.text[self.at : self.at + 3]
        if quotes in _LONG:
            below = self.text[self.at + 3 : self.at + 4] == "\n"
            self.texts[path] = self._line() + below
            self._take(_LONG[quotes])
        elif first in "\"'":
            self.texts[path] = self._line()
            self._take(_BASIC if first == '"' else _LITERAL)
        elif first == "[":
            self._array(path)
        elif first == "{":
            self._inline(path)
        else:
            self._take(_SCALAR)

    def _array(self, path: Path) -> None:
        self.at += 1
        index = 0
        while self._blank() and self.text[self.at] != "]":
            self.keys.setdefault((*path, index), self._line())
            self._value((*path, index))
            index += 1
        self.at += 1

    def _inline(self, path: Path) -> None:
        self.at += 1
        while self._blank() and self.text[self.at] != "}":
            self._pair(path)
        self.at += 1
