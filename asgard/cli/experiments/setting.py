"""Values that the command line sets in an experiment: `--set a=2.0`."""

import dataclasses
import re
import tomllib
from collections.abc import Sequence
from typing import Any

from ..faults import InputError
from .document import Document, Path, printable
from .kinds import did_you_mean, keys_of
from .schema import Experiment

_NUMBERS = ("parameters", "initial", "inputs")


def with_settings(document: Document, settings: Sequence[str]) -> Document:
    """The document with other values. Raises `InputError` for a setting that cannot be read.

    `a=2.0` sets the parameter, initial value or input of that name; `times.until=5` any key, whose
    parts have dots between them. Values are written as in TOML; a plain word is a text.
    """
    for setting in settings:
        name, equals, text = setting.partition("=")
        option = f"--set {printable(setting, 60)}"
        if not equals or not name.strip():
            raise InputError(f"{option}: expected NAME=VALUE")
        path = _path(name.strip(), document, option)
        value = read_value(text.strip(), option)
        values = _placed(document.values, path, value, option)
        options = {**document.options, path: option}
        document = dataclasses.replace(document, values=values, options=options)
    return document


def read_value(text: str, option: str) -> Any:
    """A value of TOML, or a text without quotes. Raises `InputError` for what begins as an array, a
    table or a text with quotes, and is none."""
    try:
        found = tomllib.loads(f"value = {text}")
    except RecursionError:
        raise InputError(f"{option}: the value is nested too deeply") from None
    except ValueError as error:
        if not text.startswith(("[", "{", '"', "'")):
            return text
        reason = str(error).partition(" (at ")[0]
        raise InputError(f"{option}: this is no value of TOML: {reason[:200]}") from None
    if found.keys() != {"value"}:
        raise InputError(f"{option}: expected one value")
    return found["value"]


def _path(name: str, document: Document, option: str) -> Path:
    """The path that a name means."""
    tables = {table: document.values.get(table) for table in _NUMBERS}
    held = [table for table, own in tables.items() if isinstance(own, dict) and name in own]
    if len(held) > 1:
        choice = " or ".join(f"{table}.{name}" for table in held)
        raise InputError(f"{option}: which of them? Say {choice}")
    if held:
        return (held[0], name)
    first, dot, rest = name.partition(".")
    known = keys_of(Experiment)
    if first in known and first in _NUMBERS and dot:
        # Names of numbers may have dots themselves.
        return (first, rest)
    if first in known:
        return tuple(
            int(part) if re.fullmatch(r"\d{1,6}", part) else part for part in name.split(".")
        )
    if document.values.get("circuit") is not None:
        return ("parameters", name)
    numbers = [one for own in tables.values() if isinstance(own, dict) for one in own]
    hint = did_you_mean(name, [*numbers, *known])
    hint = hint or f"; there are {', '.join(numbers) or 'none'}, and keys such as times.until"
    raise InputError(f"{option}: there is no number {printable(name, 40)}{hint}")


def _placed(values: Any, path: Path, value: Any, option: str) -> Any:
    """A copy of nested tables and arrays with one value in another's place."""
    if not path:
        return value
    first, *rest = path
    first = str(first) if isinstance(values, dict) else first
    if isinstance(values, list):
        first = int(first) if isinstance(first, str) and re.fullmatch(r"\d{1,6}", first) else first
        if not isinstance(first, int) or first >= len(values):
            raise InputError(f"{option}: expected a number below {len(values)}, not {first}")
        copy: Any = list(values)
        copy[first] = _placed(values[first], tuple(rest), value, option)
        return copy
    if not isinstance(values, dict):
        raise InputError(f"{option}: there is no table to hold {first}")
    inner = values.get(first, {} if rest else None)
    return {**values, first: _placed(inner, tuple(rest), value, option)}
