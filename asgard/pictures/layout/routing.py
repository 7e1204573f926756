"""The ways of wires through a gap between two columns.

A gap has four zones from left to right: names of wires; tracks for wires that turn around on its
left; bends; tracks for those that turn around on its right. Wires are level but in the bends, where
all have one shape. So two wires cross where `crossings` counts one, and nowhere else.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

from ..geometry import Path, Point, Step, rounded
from .layers import End, Link

_TRACK, _BESIDE_TRACKS = 10.0, 8.0
_RADIUS = 7.0
_LEVEL_RISE = 0.05
_LEVEL, _BEFORE_DOT = 10.0, 8.0
_STEEPNESS, _LEAST_BEND, _MOST_BEND = 0.45, 30.0, 130.0
_LEAST_GAP = 26.0


@dataclasses.dataclass(frozen=True)
class Way:
    """How a wire goes through a gap, from one port to another."""

    link: Link
    path: Path


class Gap:
    """A gap: its links, the tracks of those that turn around, and its zones.

    **Arguments:** `height` says how high an end of a link is; `names` is the width that the names
    of wires take.
    """

    def __init__(self, links: Sequence[Link], height: Callable[[End], float], names: float):
        self.links = links
        self.height = height
        turning = [link for link in links if link.turns]
        self.left = self._tracks([link for link in turning if link.start.right])
        self.right = self._tracks([link for link in turning if not link.start.right])
        rises = [abs(height(x.start) - height(x.stop)) for x in links if not x.turns]
        rise = max(rises, default=0.0)
        self.later = self._later()
        bend = min(max(_STEEPNESS * rise, _LEAST_BEND), _MOST_BEND) if rise > 0.5 else _LEVEL
        ends = [
            _TRACK * (max(tracks.values()) + 1) + _BESIDE_TRACKS if tracks else 0.0
            for tracks in (self.left, self.right)
        ]
        branched = any(link.start.right for link in self.later)
        self.names = max(names, _BEFORE_DOT if branched else 0.0)
        self.bends = (self.names + ends[0], self.names + ends[0] + bend)
        self.width = max(self.bends[1] + ends[1], _LEAST_GAP)

    def _later(self) -> frozenset[Link]:
        """The links that branch off others: all of one port but one, a level one if there is."""
        groups: dict[End, list[Link]] = {}
        for link in self.links:
            groups.setdefault(link.start, []).append(link)
        later: list[Link] = []
        for start, group in groups.items():
            y = self.height(start)
            first = min(group, key=lambda x: (x.turns, abs(self.height(x.stop) - y)))
            later += [link for link in group if link is not first]
        return frozenset(later)

    def _tracks(self, links: Sequence[Link]) -> dict[End, int]:
        """A track for each port that turning links start from, inner turns on inner tracks."""
        spans = {}
        for start, group in itertools.groupby(links, key=lambda link: link.start):
            found = [self.height(link.stop) for link in group] + [self.height(start)]
            spans[start] = (min(found), max(found))
        tracks: dict[End, int] = {}
        for start in sorted(spans, key=lambda start: spans[start][1] - spans[start][0]):
            low, high = spans[start]
            beside = (
                track
                for other, track in tracks.items()
                if spans[other][0] <= high + _TRACK and low <= spans[other][1] + _TRACK
            )
            tracks[start] = max(beside, default=-1) + 1
        return tracks

    def way(self, link: Link, at: float, start: Point, stop: Point) -> Way:
        """The way of a link between two points, in the gap that begins at x = `at`.

        What several links share, one of them draws.
        """
        if link.turns:
            x = self._turn(link.start, at)
            if link in self.later:
                start = Point(x + (-_RADIUS if link.start.right else _RADIUS), start.y)
            points = (start, Point(x, start.y), Point(x, stop.y), stop)
            return Way(link, rounded(points, _RADIUS))
        first, last = (at + x for x in (self.bends if link.start.right else self.bends[::-1]))
        near, far, middle = Point(first, start.y), Point(last, stop.y), (first + last) / 2
        controls = (Point(middle, start.y), Point(middle, stop.y))
        level = abs(start.y - stop.y) < _LEVEL_RISE
        steps = (Step(stop),) if level else (Step(near), Step(far, controls), Step(stop))
        return Way(link, Path(near, steps[1:]) if link in self.later else Path(start, steps))

    def _turn(self, start: End, at: float) -> float:
        """The x of the track of a port."""
        if start.right:
            return at + self.names + _BESIDE_TRACKS + _TRACK * self.left[start]
        return at + self.width - _BESIDE_TRACKS - _TRACK * self.right[start]

    def dots(self, at: float) -> list[Point]:
        """Where wires branch."""
        found = []
        for start, group in itertools.groupby(self.links, key=lambda link: link.start):
            links = list(group)
            y = self.height(start)
            turning = [self.height(link.stop) for link in links if link.turns]
            through = len(links) - len(turning)
            above = sorted((stop for stop in turning if stop < y), reverse=True)
            below = sorted(stop for stop in turning if stop >= y)
            if bool(above) + bool(below) + bool(through) > 1:
                inward = -1 if start.right else 1
                found.append(Point(self._turn(start, at) + inward * _RADIUS, y))
            if through > 1:
                found.append(Point(at + self.bends[0 if start.right else 1], y))
            for side, back in ((above, 1), (below, -1)):
                x = self._turn(start, at) if side else 0.0
                found += [Point(x, stop + back * _RADIUS) for stop in side[:-1]]
        return found
