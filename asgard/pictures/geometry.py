"""Points, paths and how wide a text is."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple


class Point(NamedTuple):
    """Pixels from the left, and from the top."""

    x: float
    y: float


@dataclasses.dataclass(frozen=True)
class Step:
    """A line to a point, or a cubic Bézier curve to it if there are two controls on the way."""

    to: Point
    controls: tuple[Point, Point] | None = None


@dataclasses.dataclass(frozen=True)
class Path:
    """Lines and curves from a point on."""

    start: Point
    steps: tuple[Step, ...]
    closed: bool = False


@dataclasses.dataclass(frozen=True)
class Frame:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def middle(self) -> Point:
        return Point(self.x + self.width / 2, self.y + self.height / 2)


def line(*points: Point) -> Path:
    """Straight from point to point."""
    return Path(points[0], tuple(Step(point) for point in points[1:]))


# How far the controls of a curve are from a corner that stands for a quarter of a circle.
_ROUND = 0.448


def rounded(points: Sequence[Point], radius: float) -> Path:
    """Straight from point to point, with round corners."""
    steps: list[Step] = []
    before = points[0]
    for corner, after in itertools.pairwise(points[1:]):
        room = min(_distance(before, corner) / (1 if before == points[0] else 2), radius)
        room = min(room, _distance(corner, after) / (1 if after == points[-1] else 2))
        near, far = _towards(corner, before, room), _towards(corner, after, room)
        controls = (_towards(corner, before, room * _ROUND), _towards(corner, after, room * _ROUND))
        steps += [Step(near), Step(far, controls)]
        before = corner
    return Path(points[0], (*steps, Step(points[-1])))


def _distance(one: Point, other: Point) -> float:
    return abs(one.x - other.x) + abs(one.y - other.y)


def _towards(start: Point, end: Point, length: float) -> Point:
    part = length / (_distance(start, end) or 1.0)
    return Point(start.x + part * (end.x - start.x), start.y + part * (end.y - start.y))


def text_width(text: str, size: float) -> float:
    """About how wide a text is in DejaVu Sans, which is wider than what stands in for it."""
    return size * sum(_letter_width(letter) for letter in text)


def _letter_width(letter: str) -> float:
    if letter in "iljI.,:;'|![]() ":
        return 0.36
    if letter in "mwMW@—…×÷±−+∫":
        return 0.9
    return 0.72 if letter.isupper() or letter in "_&%" else 0.64


def spread(wanted: Sequence[float], least: float) -> list[float]:
    """Heights in order, at least `least` apart, as near as can be to those wanted (in squares).

    Pool adjacent violators: neighbours that are too close become a block around their mean.
    """
    blocks: list[list[float]] = []
    for index, height in enumerate(wanted):
        blocks.append([height - index * least])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    means = [_mean(block) for block in blocks for _ in block]
    return [mean + index * least for index, mean in enumerate(means)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
