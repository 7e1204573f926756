"""Which wires of a diagram lead back: orders of its boxes in which few arcs go backward.

A term that composes its atoms has one order. For others an order is a minimum feedback arc set,
found by sifting: each box moves to where the arcs that go backward weigh least, until none moves.
"""

from collections.abc import Sequence

from ..diagram import Diagram

# On paper a loop is closed after a state.
_AFTER_STATE, _AFTER_OTHER = 1, 4
_STATES = ("register", "delay", "noise", "event")
_MOST_PASSES = 8


def orders(diagram: Diagram) -> list[list[int]]:
    """Orders of the boxes from left to right, by their indices, to choose from.

    One found from the order of appearance keeps a picture narrow; one from a walk along the wires
    makes it long, often with fewer crossings.
    """
    weights = _weights(diagram)
    found = list(range(len(diagram.boxes)))
    if diagram.composed or not any(source > reader for source, reader in weights):
        return [found]
    return [_sifted(order, weights) for order in (found, _walked(diagram))]


def _walked(diagram: Diagram) -> list[int]:
    """The boxes in the order of a search that goes deep first: each before those it leads to."""
    feeds: list[list[int]] = [[] for _ in diagram.boxes]
    for wire in diagram.wires:
        feeds[wire.source.box] += [port.box for port in wire.readers]
    done: list[int] = []
    seen: set[int] = set()
    for first in range(len(feeds)):
        path = [first] if first not in seen else []
        seen.add(first)
        while path:
            further = next((box for box in feeds[path[-1]] if box not in seen), None)
            if further is None:
                done.append(path.pop())
            else:
                seen.add(further)
                path.append(further)
    return done[::-1]


def _sifted(start: Sequence[int], weights: dict[tuple[int, int], int]) -> list[int]:
    found = list(start)
    reads: dict[int, list[int]] = {box: [] for box in found}
    feeds: dict[int, list[int]] = {box: [] for box in found}
    for source, reader in weights:
        reads[reader].append(source)
        feeds[source].append(reader)
    for _ in range(_MOST_PASSES):
        moved = False
        for box in sorted(found):
            moved |= _sift(box, found, weights, reads[box], feeds[box])
        if not moved:
            break
    return found


def _weights(diagram: Diagram) -> dict[tuple[int, int], int]:
    """What each arc from a box to another weighs."""
    weights: dict[tuple[int, int], int] = {}
    for wire in diagram.wires:
        source = wire.source.box
        after_state = diagram.boxes[source].label.kind in _STATES
        for reader in dict.fromkeys(port.box for port in wire.readers):
            if reader != source:
                arc = (source, reader)
                weights[arc] = weights.get(arc, 0) + (_AFTER_STATE if after_state else _AFTER_OTHER)
    return weights


def _sift(
    box: int,
    order: list[int],
    weights: dict[tuple[int, int], int],
    reads: Sequence[int],
    feeds: Sequence[int],
) -> bool:
    """Moves a box to the best position in an order; whether it has moved."""
    was = order.index(box)
    order.remove(box)
    position = {other: index for index, other in enumerate(order)}
    # Passing another box to the right turns the arcs between the two around.
    change = [0] * len(order)
    for source in reads:
        change[position[source]] -= weights[source, box]
    for reader in feeds:
        change[position[reader]] += weights[box, reader]
    cost = 0
    costs = [0]
    for one in change:
        cost += one
        costs.append(cost)
    best = min(costs)
    # It stays where it is, if that is as good.
    to = was if costs[was] == best else costs.index(best)
    order.insert(to, box)
    return to != was
