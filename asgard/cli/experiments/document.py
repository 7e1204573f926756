"""What a user gave: values by key, and where each was said."""

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path as File
from typing import Any

from ...errors import CircuitError
from ..faults import InputError
from .lines import Lines, Path, lines_of

# An experiment is a page of text. This keeps a wrong file from being read at length.
_MOST_BYTES = 1_000_000
_NOWHERE = Lines({}, {})
# What `tomllib` says of a text without an end, and the quote that opens it.
_QUOTES = {"Unterminated string": '"', 'Expected "\'"': "'", "Expected \"'''\"": "'''"}


@dataclasses.dataclass(frozen=True)
class Document:
    """Values by key, as `tomllib` reads them.

    - `name`: the file's, as the user gave it; empty where there is none.
    - `folder`: where relative paths in it start.
    - `lines`: where things stand in the file.
    - `options`: what options of the command line said, by path: the option, as it was given.
    """

    name: str
    values: dict[str, Any]
    folder: File = File()
    lines: Lines = _NOWHERE
    options: Mapping[Path, str] = dataclasses.field(default_factory=dict)

    def fault(self, path: Path, message: str) -> InputError:
        """The error about what stands at a path, or about what is missing there."""
        key = shown(path)
        return InputError(f"{self.place(path)}: {f'{key}: ' if key else ''}{message}")

    def fault_within(self, path: Path, error: CircuitError, message: str = "") -> InputError:
        """The error about the text at a path, in which `error` found something at a line.

        `message` says it, by default in the words of `error`.
        """
        message = message or re.sub(r"^line \d+, column \d+: ", "", str(error))
        place = self.place(path, (error.line or 1) - 1)
        return InputError(f"{place}: {shown(path)}: {message}")

    def place(self, path: Path, line: int = 0) -> str:
        """Where a path stands, for a message; `line` counts on in a text of several lines."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.options:
                return self.options[path[:length]]
        inside = [option for one, option in self.options.items() if one[: len(path)] == path]
        if path and path not in self.lines.keys and inside:
            return inside[0]
        if not self.name:
            return "the arguments"
        if path in self.lines.texts:
            return f"{self.name}:{self.lines.texts[path] + line}"
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines.keys:
                return f"{self.name}:{self.lines.keys[path[:length]]}"
        return f"{self.name}:1"


def read_document(name: str) -> Document:
    """The document in a TOML file. Raises `InputError` for what is none."""
    file = File(name)
    try:
        if not file.is_file():
            what = "is a folder" if file.is_dir() else "is no file"
            raise InputError(f"{name}: {what if file.exists() else 'there is no such file'}")
        with file.open("rb") as opened:
            contents = opened.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name}: cannot be read: {reason}") from None
    if len(contents) > _MOST_BYTES:
        raise InputError(f"{name}: is more than {_MOST_BYTES:,} bytes long, and no experiment")
    try:
        text = contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = contents.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name}:{line}: is no text in UTF-8") from None
    return Document(name, *_read_toml(name, text.replace("\r\n", "\n"), file.parent))


def _read_toml(name: str, text: str, folder: File) -> tuple[dict[str, Any], File, Lines]:
    try:
        return tomllib.loads(text), folder, lines_of(text)
    except RecursionError:
        raise InputError(f"{name}:1: arrays or tables are nested too deeply") from None
    except ValueError as error:
        # tomllib says the place at the end; an integer of thousands of digits has none.
        found = re.fullmatch(r"(.*?) \(at (?:line (\d+), column \d+|end of document)\)", str(error))
        reason, line = (found[1], found[2]) if found else (str(error), "1")
        line = line or text.rstrip("\n").count("\n") + 1
        open_at, hint = _unclosed(reason, text), ""
        if reason == "Illegal character '\\n'" or open_at:
            reason = "a text is not closed: its second quote is missing"
        elif reason == "Invalid value":
            hint = "; a text has quotes around it"
        line = open_at or line
        raise InputError(f"{name}:{line}: this is no TOML: {reason[:200]}{hint}") from None


def _unclosed(reason: str, text: str) -> int | None:
    """The line of the quote that opens a text, where `tomllib` looked for its end in vain."""
    quote = _QUOTES.get(reason)
    if quote is None:
        return None
    # Three quotes open a text of several lines.
    quote = 3 * quote if quote == '"' and text.count('"""') % 2 else quote
    return text.count("\n", 0, text.rfind(quote)) + 1


def shown(path: Path) -> str:
    """A path as a user writes it: `calculus.rtol`, `expected[0].at`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", part)
            text += ("." if text else "") + (part if bare else f'"{printable(part, 60)}"')
    return text


def printable(text: str, most: int) -> str:
    """A text for one line of a message, cut to `most` letters."""
    text = text if len(text) <= most else text[: most - 3] + "..."
    return "".join(letter if letter.isprintable() else "·" for letter in text)
