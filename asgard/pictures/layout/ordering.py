"""The order of the items in each column, with few crossings of wires.

Sweeps order each column by the barycentres of what its items are linked to (Sugiyama, Tagawa and
Toda, 1981). `Order` then moves items and long wires while that saves crossings. All begins from
several orders, and the best is kept; of those as good, the one with the shortest links.
"""

import math
import random
from collections.abc import Sequence

from ..diagram import Diagram
from .crossings import Order, crossings
from .feedback import orders
from .layers import End, Layers, Link, layered

_SWEEPS = 12
_STARTS = 8
# The smaller a diagram, the more often the best order is shaken.
_MOST_SHAKES, _OF_SHAKES = 80, 8_000
# Long wires are led at these heights of their columns, in turn.
_HEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
# Pairs of items in one column, summed over columns. Up to the first number all starts are worked
# out and the best is shaken; up to the second only the best is worked out; above it only
# neighbours change places.
_FEW_PAIRS, _MANY_PAIRS = 600, 6_000


def ordered(diagram: Diagram) -> Layers:
    """The layers of a diagram in an order with few crossings.

    Of several ways to close its loops it takes the one with the fewest crossings, unless that makes
    the picture much longer.
    """
    found = [layered(diagram, order) for order in orders(diagram)]

    def cost(layers: Layers) -> float:
        order = Order(layers, _swept(layers, [list(column) for column in layers.columns]))
        order.sift(far=_pairs(layers) <= _MANY_PAIRS)
        return crossings(layers, order.columns) * math.sqrt(len(layers.columns))

    layers = found[0] if len(found) == 1 else min(found, key=cost)
    reduce_crossings(layers)
    return layers


def reduce_crossings(layers: Layers) -> None:
    """Orders the columns of `layers`, in place."""
    pairs = _pairs(layers)
    draw = random.Random(0)
    found = []
    for start in range(_STARTS if pairs <= _MANY_PAIRS else 2):
        columns = [list(column) for column in layers.columns]
        for column in columns:
            if start == 1:
                column.reverse()
            elif start > 1:
                draw.shuffle(column)
        # Sweeps forget where they start, so every other order is only sifted.
        order = Order(layers, columns if start > 1 and start % 2 else _swept(layers, columns))
        order.sift(far=pairs <= _MANY_PAIRS)
        found.append(order.columns)
        # Lengths count too, so a few more starts follow one without crossings.
        if start >= _STARTS // 2 and not crossings(layers, order.columns):
            break
    found.sort(key=lambda columns: _cost(layers, columns))
    if pairs <= _MANY_PAIRS and crossings(layers, found[0]):
        del found[_STARTS if pairs <= _FEW_PAIRS else 1 :]
        for columns in found:
            Order(layers, columns).reroute(_HEIGHTS)
    best = min(found, key=lambda columns: _cost(layers, columns))
    shakes = min(_OF_SHAKES // max(pairs, 1), _MOST_SHAKES) if pairs <= _FEW_PAIRS else 0
    layers.columns[:] = _shaken(layers, best, shakes, draw)


def _shaken(
    layers: Layers, best: list[list[int]], shakes: int, draw: random.Random
) -> list[list[int]]:
    """The best order after columns of it are shuffled, one or two at a time, and all is sifted."""
    cost = _cost(layers, best)
    for shake in range(shakes):
        if not cost[0]:
            break
        columns = [list(column) for column in best]
        first = draw.randrange(len(columns))
        for column in columns[first : first + 1 + shake % 2]:
            draw.shuffle(column)
        order = Order(layers, columns)
        order.sift(far=True)
        found = _cost(layers, columns)
        if found < cost:
            best, cost = columns, found
    return best


def _pairs(layers: Layers) -> int:
    return sum(len(column) ** 2 for column in layers.columns)


def _cost(layers: Layers, columns: Sequence[Sequence[int]]) -> tuple[int, float]:
    """Crossings, and then how far up and down links go, in parts of their columns' heights."""
    height = {
        item: (rank + 0.5) / len(column) for column in columns for rank, item in enumerate(column)
    }
    links = (link for gap in layers.gaps for link in gap)
    length = sum(abs(height[link.start.item] - height[link.stop.item]) for link in links)
    return crossings(layers, columns), round(length, 9)


def _swept(layers: Layers, columns: list[list[int]]) -> list[list[int]]:
    """The best of the orders that sweeps to the right and to the left go through."""
    best, fewest = columns, crossings(layers, columns)
    for sweep in range(_SWEEPS):
        columns = [list(column) for column in columns]
        rightward = sweep % 2 == 0
        for index in range(len(columns)) if rightward else reversed(range(len(columns))):
            gap = layers.gaps[index if rightward else index + 1]
            other = index - 1 if rightward else index + 1
            if 0 <= other < len(columns):
                columns[index] = _by_barycentre(layers, gap, columns[index], columns[other])
        found = crossings(layers, columns)
        if found < fewest:
            best, fewest = columns, found
    return best


def _by_barycentre(
    layers: Layers, gap: Sequence[Link], column: list[int], other: Sequence[int]
) -> list[int]:
    """A column ordered by the mean height of what its items are linked to in the next one.

    Ports count: an item of many is as high as they are many. Items without links stay.
    """
    start: dict[int, int] = {}
    height = 0
    for item in other:
        start[item] = height
        height += max(layers.items[item].n_in, layers.items[item].n_out, 1)
    heights: dict[int, list[float]] = {item: [] for item in column}

    def note(near: End, far: End) -> None:
        if near.item in heights and far.item in start:
            own = layers.items[near.item]
            # A port below the middle of its item draws the item upward.
            inner = near.port - ((own.n_out if near.right else own.n_in) - 1) / 2
            heights[near.item].append(start[far.item] + far.port - inner)

    for link in gap:
        note(link.start, link.stop)
        note(link.stop, link.start)
    means = {item: sum(found) / len(found) for item, found in heights.items() if found}
    ordered = iter(sorted(means, key=lambda item: means[item]))
    return [next(ordered) if item in means else item for item in column]
