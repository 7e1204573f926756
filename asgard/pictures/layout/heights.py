"""How high the items of each column stand: straight wires first, then short ones.

Items whose ports are linked are set in line across columns, as Brandes and Köpf do (*Fast and
simple horizontal coordinate assignment*, 2001), here by ports. That is done four ways, from the
left or the right and from the top or the bottom. Lines are packed, and then move up and down
between their neighbours to the mean of what they are linked to. The best of the four ways is kept.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from .layers import End, Layers, Link

# The space between a box and what is next to it, and between two bends.
_BESIDE_BOX, _BESIDE_BEND = 18.0, 16.0
# How long a bend counts; how much the length of a turn counts.
_BEND, _OF_TURNS = 30.0, 0.3
_SWEEPS = 60


@dataclasses.dataclass(frozen=True)
class Shape:
    """The height of an item, and how far down its ports are, on its left and on its right."""

    height: float
    left: tuple[float, ...]
    right: tuple[float, ...]

    def mirrored(self) -> "Shape":
        left, right = (tuple(self.height - y for y in side) for side in (self.left, self.right))
        return Shape(self.height, left, right)


@dataclasses.dataclass(frozen=True)
class _Joint:
    """A link seen from a column: the items on both sides and how far down their ports are."""

    item: int
    other: int
    offset: float
    other_offset: float


@dataclasses.dataclass(frozen=True)
class _Lines:
    """Items in line: the root of each item's line, and how far below the line's top the item is."""

    root: list[int]
    shift: list[float]


def heights(
    layers: Layers, shapes: Sequence[Shape], loose: AbstractSet[int] = frozenset()
) -> list[float]:
    """The y of the top of each item; y grows downward. Links of the items `loose` do not count."""
    through = [
        [link for link in gap if not {link.start.item, link.stop.item} & loose]
        for gap in layers.gaps
    ]
    straight = [[link for link in gap if not link.turns] for gap in through]
    marked = _conflicts(layers, straight)
    free = [[link for link in gap if link not in marked] for gap in straight]
    pulls = [
        _Pull(
            link,
            _port(shapes, link.start),
            _port(shapes, link.stop),
            _OF_TURNS if link.turns else 1.0,
        )
        for gap in through
        for link in gap
    ]
    best: tuple[float, list[float]] | None = None
    for upward in (False, True):
        columns = [list(reversed(c)) if upward else list(c) for c in layers.columns]
        used = [shape.mirrored() if upward else shape for shape in shapes]
        for leftward in (False, True):
            lines = _lined_up(columns, free, used, leftward)
            if upward:
                # What was below the top of a line upside down is above it.
                shift = [-(y + s.height) for y, s in zip(lines.shift, shapes, strict=True)]
                lines = _Lines(lines.root, shift)
            tops = _relaxed(_distances(layers.columns, shapes, lines), lines, pulls)
            cost = sum(pull.cost(tops) for pull in pulls)
            if best is None or cost < best[0] - 1e-6:
                best = cost, tops
    return best[1] if best else []


@dataclasses.dataclass(frozen=True)
class _Pull:
    """A link, how far down its ports are on their items, and how much it wants to be level."""

    link: Link
    start: float
    stop: float
    weight: float

    def rise(self, tops: Sequence[float]) -> float:
        """How far the link leads downward."""
        return tops[self.link.stop.item] + self.stop - tops[self.link.start.item] - self.start

    def cost(self, tops: Sequence[float]) -> float:
        """How long the link is, and a bend more where it is not level."""
        rise = abs(self.rise(tops))
        bent = rise > 0.5 and not self.link.turns
        return self.weight * (rise + (_BEND if bent else 0.0))


def _port(shapes: Sequence[Shape], end: End) -> float:
    shape = shapes[end.item]
    return (shape.right if end.right else shape.left)[end.port]


def _conflicts(layers: Layers, straight: Sequence[Sequence[Link]]) -> set[Link]:
    """The links that cross one between two bends: long wires are to be straight before others."""
    rank = {item: index for column in layers.columns for index, item in enumerate(column)}

    def ends(link: Link) -> tuple[tuple[int, int], tuple[int, int]]:
        left, right = (link.start, link.stop) if link.start.right else (link.stop, link.start)
        return (rank[left.item], left.port), (rank[right.item], right.port)

    def inner(link: Link) -> bool:
        return all(layers.items[end.item].box is None for end in (link.start, link.stop))

    marked = set()
    for gap in straight:
        long = [ends(link) for link in gap if inner(link)]
        for link in gap:
            left, right = ends(link)
            if not inner(link) and any(
                (left < one and other < right) or (one < left and right < other)
                for one, other in long
            ):
                marked.add(link)
    return marked


def _lined_up(
    columns: Sequence[Sequence[int]],
    links: Sequence[Sequence[Link]],
    shapes: Sequence[Shape],
    leftward: bool,
) -> _Lines:
    """Lines from column to column; the items of a column choose from its top on."""
    lines = _Lines(list(range(len(shapes))), [0.0] * len(shapes))
    indices = range(len(columns))
    for index in reversed(indices) if leftward else indices:
        other = index + 1 if leftward else index - 1
        if 0 <= other < len(columns):
            joints = _joints(links[max(index, other)], shapes, leftward)
            _align(columns[index], columns[other], joints, lines)
    return lines


def _joints(
    links: Sequence[Link], shapes: Sequence[Shape], leftward: bool
) -> dict[int, list[_Joint]]:
    """The links of the items on one side of a gap: on its left if columns are taken leftward."""
    joints: dict[int, list[_Joint]] = {}
    for link in links:
        left, right = (link.start, link.stop) if link.start.right else (link.stop, link.start)
        left_y = shapes[left.item].right[left.port]
        right_y = shapes[right.item].left[right.port]
        joint = (
            _Joint(left.item, right.item, left_y, right_y)
            if leftward
            else _Joint(right.item, left.item, right_y, left_y)
        )
        joints.setdefault(joint.item, []).append(joint)
    return joints


def _align(
    column: Sequence[int],
    other: Sequence[int],
    joints: dict[int, list[_Joint]],
    lines: _Lines,
) -> None:
    """Sets items of a column in line with their median neighbours in the one before."""
    rank = {item: index for index, item in enumerate(other)}
    free = 0  # items of the other column before this one are taken, or would cross
    for item in column:
        found = sorted(
            joints.get(item, ()), key=lambda j: (rank[j.other], j.other_offset, j.offset)
        )
        middle = len(found) - 1
        for index in dict.fromkeys((middle // 2, (middle + 1) // 2)):
            if found and lines.root[item] == item and rank[found[index].other] >= free:
                joint = found[index]
                lines.root[item] = lines.root[joint.other]
                lines.shift[item] = lines.shift[joint.other] + joint.other_offset - joint.offset
                free = rank[joint.other] + 1


def _distances(
    columns: Sequence[Sequence[int]], shapes: Sequence[Shape], lines: _Lines
) -> dict[int, dict[int, float]]:
    """How far each line must be above those right below it."""
    least: dict[int, dict[int, float]] = {line: {} for line in lines.root}
    for column in columns:
        for above, below in itertools.pairwise(column):
            distance = shapes[above].height + _space(shapes[above], shapes[below])
            distance += lines.shift[above] - lines.shift[below]
            found = least[lines.root[above]]
            found[lines.root[below]] = max(found.get(lines.root[below], distance), distance)
    return least


def _relaxed(
    least: dict[int, dict[int, float]], lines: _Lines, pulls: Sequence[_Pull]
) -> list[float]:
    """Heights of items whose lines have moved to where their links draw them."""
    order = _downward(least)
    tops = dict.fromkeys(order, 0.0)
    above: dict[int, list[tuple[int, float]]] = {line: [] for line in order}
    for line in order:
        for below, distance in least[line].items():
            above[below].append((line, distance))
            tops[below] = max(tops[below], tops[line] + distance)
    drawn: dict[int, list[tuple[int, float, float]]] = {line: [] for line in order}
    for pull in pulls:
        start, stop = pull.link.start.item, pull.link.stop.item
        one, other = lines.root[start], lines.root[stop]
        rise = lines.shift[stop] + pull.stop - lines.shift[start] - pull.start
        if one != other:
            drawn[one].append((other, rise, pull.weight))
            drawn[other].append((one, -rise, pull.weight))
    for sweep in range(_SWEEPS):
        for line in order if sweep % 2 else reversed(order):
            if drawn[line]:
                total = sum(weight for _, _, weight in drawn[line])
                wanted = sum((tops[o] + rise) * w for o, rise, w in drawn[line]) / total
                low = max((tops[o] + d for o, d in above[line]), default=-math.inf)
                high = min((tops[o] - d for o, d in least[line].items()), default=math.inf)
                tops[line] = min(max(wanted, low), high)
    return [tops[lines.root[item]] + lines.shift[item] for item in range(len(lines.root))]


def _downward(least: dict[int, dict[int, float]]) -> list[int]:
    """The lines, each after those above it."""
    waits = dict.fromkeys(least, 0)
    for below in itertools.chain.from_iterable(least.values()):
        waits[below] += 1
    order = [line for line, count in waits.items() if not count]
    for line in order:
        for below in least[line]:
            waits[below] -= 1
            if not waits[below]:
                order.append(below)
    return order


def _space(above: Shape, below: Shape) -> float:
    return _BESIDE_BOX if above.height or below.height else _BESIDE_BEND
