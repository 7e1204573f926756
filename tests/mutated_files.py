"""Experiments that are no longer what they were: files of the examples, changed at random."""

import random
import re
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"
_VALUES = (
    "0",
    "-1",
    "1e308",
    "1e-320",
    "99999999999999999999",
    "nan",
    "inf",
    "true",
    '"text"',
    "[]",
    "[1.0, 2.0]",
    "[[1], 2]",
    "{ a = 1 }",
    "1979-05-27",
    "''",
)


def mutated(seed: int) -> bytes:
    """The text of an example with one to three changes, which the seed chooses."""
    draw = random.Random(seed)
    files = sorted(EXAMPLES.glob("*/*.toml"))
    lines = draw.choice(files).read_text(encoding="utf-8").split("\n")
    for _ in range(draw.randint(1, 3)):
        lines = draw.choice(_CHANGES)(draw, lines) or [""]
    contents = "\n".join(lines).encode()
    if draw.random() < 0.1:
        at = draw.randrange(len(contents) + 1)
        contents = contents[:at] + draw.randbytes(draw.randint(1, 8)) + contents[at:]
    return contents


def _drop(draw, lines):
    at = draw.randrange(len(lines))
    return lines[:at] + lines[at + 1 :]


def _repeat(draw, lines):
    at = draw.randrange(len(lines))
    return [*lines[: at + 1], *lines[at:]]


def _swap(draw, lines):
    one, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines = list(lines)
    lines[one], lines[other] = lines[other], lines[one]
    return lines


def _cut(draw, lines):
    text = "\n".join(lines)
    return text[: draw.randrange(len(text) + 1)].split("\n")


def _letter(draw, lines):
    text = "\n".join(lines)
    at = draw.randrange(len(text)) if text else 0
    return (text[:at] + draw.choice(["", "=", '"', "x", "]", "é", "\\"]) + text[at + 1 :]).split(
        "\n"
    )


def _value(draw, lines):
    """Another value of a key."""
    keys = [index for index, line in enumerate(lines) if " = " in line]
    if not keys:
        return lines
    at = draw.choice(keys)
    key, _, _ = lines[at].partition(" = ")
    return [*lines[:at], f"{key} = {draw.choice(_VALUES)}", *lines[at + 1 :]]


def _other_value(draw, lines):
    """The value of another key."""
    keys = [index for index, line in enumerate(lines) if " = " in line]
    if not keys:
        return lines
    at, other = draw.choice(keys), draw.choice(keys)
    key, value = lines[at].partition(" = ")[0], lines[other].partition(" = ")[2]
    return [*lines[:at], f"{key} = {value}", *lines[at + 1 :]]


def _number(draw, lines):
    """Another number somewhere, in a formula too."""
    text = "\n".join(lines)
    places = list(re.finditer(r"\d+(\.\d+)?", text))
    if not places:
        return lines
    one = draw.choice(places)
    number = draw.choice(["0", "1", "7", "0.01", "123.456", "1e6"])
    return (text[: one.start()] + number + text[one.end() :]).split("\n")


_CHANGES = (_number, _drop, _repeat, _swap, _cut, _letter, _value, _value, _other_value)
