"""Crossings of wires: how many there are for an order of the columns, and moves that save some.

Links of one gap cross where their ends alternate around it: go down its left side and up its right,
past every port in order. That counts ports, not boxes, and covers links that turn back.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from .layers import End, Layers, Link

# More than the ports of an item, and more than the ports on a side of a gap.
_PORTS = 1 << 12
_SIDE = 1 << 40
_PASSES = 6
_ROUNDS = 3


def crossings(layers: Layers, columns: Sequence[Sequence[int]] | None = None) -> int:
    """How many pairs of links cross, for the columns of `layers` or other orders of these."""
    rank = _ranks(layers.columns if columns is None else columns)
    return sum(_in_gap(links, rank) for links in layers.gaps)


class Order:
    """An order of the columns, in which items move.

    Sifting moves one item along its column (Matuszewski, Schönfeld and Molitor, 1999). A long wire
    leads through many columns, and no one of its bends may gain alone; `reroute` moves them all.
    """

    def __init__(self, layers: Layers, columns: list[list[int]]):
        self.layers, self.columns = layers, columns
        self.rank = _ranks(columns)
        self.column = {item: column for column in columns for item in column}
        self.touching: dict[int, list[tuple[int, Link]]] = {item: [] for item in self.rank}
        for index, gap in enumerate(layers.gaps):
            for link in gap:
                for item in dict.fromkeys((link.start.item, link.stop.item)):
                    self.touching[item].append((index, link))

    def sift(self, far: bool) -> None:
        """Moves items until no move saves a crossing. `far` lets them pass several others."""
        for _ in range(_PASSES):
            saved = 0
            for column in self.columns:
                for item in list(column):
                    saved += self._move(item, far)
            if not saved:
                break

    def reroute(self, heights: Sequence[float]) -> None:
        """Leads each long wire through its columns at other heights, from 0 to 1, and sifts."""
        chains: dict[tuple[int | None, bool], list[int]] = {}
        for index, item in enumerate(self.layers.items):
            if item.box is None:
                chains.setdefault((item.wire, item.backward), []).append(index)
        for _ in range(_ROUNDS):
            before = crossings(self.layers, self.columns)
            for chain in chains.values():
                for height in heights:
                    self._lead(chain, height)
            self.sift(far=True)
            if crossings(self.layers, self.columns) == before:
                break

    def _lead(self, chain: Sequence[int], height: float) -> None:
        """Leads a wire through its columns at a height, if that saves crossings."""
        gaps = {gap for item in chain for gap, _ in self.touching[item]}
        kept = [list(self.column[item]) for item in chain]
        before = self._crossings(gaps)
        for item in chain:
            self._put(item, round(height * (len(self.column[item]) - 1)))
        for item in chain:
            self._move(item, far=True)
        if self._crossings(gaps) >= before:
            for item, column in zip(chain, kept, strict=True):
                self.column[item][:] = column
                self.rank.update({one: rank for rank, one in enumerate(column)})

    def _crossings(self, gaps: Iterable[int]) -> int:
        return sum(_in_gap(self.layers.gaps[gap], self.rank) for gap in gaps)

    def _put(self, item: int, rank: int) -> None:
        column = self.column[item]
        column.remove(item)
        column.insert(rank, item)
        self.rank.update({one: index for index, one in enumerate(column)})

    def _move(self, item: int, far: bool) -> int:
        """Moves an item to where it saves the most crossings; how many those are."""
        column = self.column[item]
        was = self.rank[item]
        best, most = was, 0
        for step in (1, -1):
            others = column[was + 1 :] if step == 1 else column[:was][::-1]
            saved = 0
            for passed, other in enumerate(others if far else others[:1], start=1):
                saved += self._pass(item, other)
                if saved > most:
                    best, most = was + step * passed, saved
            self.rank.update({one: rank for rank, one in enumerate(column)})
        self._put(item, best)
        return most

    def _pass(self, item: int, other: int) -> int:
        """Lets two neighbours change ranks; how many crossings that saves."""
        before = self._between(item, other)
        self.rank[item], self.rank[other] = self.rank[other], self.rank[item]
        return before - self._between(item, other)

    def _between(self, item: int, other: int) -> int:
        """How many links of an item cross links of another."""
        count = 0
        chords = [(gap, *_chord(link, self.rank)) for gap, link in self.touching[other]]
        for gap, link in self.touching[item]:
            low, high = _chord(link, self.rank)
            for where, start, stop in chords:
                if where == gap and (start < low < stop < high or low < start < high < stop):
                    count += 1
        return count


def _ranks(columns: Sequence[Sequence[int]]) -> dict[int, int]:
    return {item: rank for column in columns for rank, item in enumerate(column)}


def _around(end: End, rank: dict[int, int]) -> int:
    """Where an end is on the way around its gap."""
    along = rank[end.item] * _PORTS + end.port
    return along if end.right else _SIDE - along


def _chord(link: Link, rank: dict[int, int]) -> tuple[int, int]:
    one, other = _around(link.start, rank), _around(link.stop, rank)
    return (one, other) if one < other else (other, one)


def _in_gap(links: Sequence[Link], rank: dict[int, int]) -> int:
    if len(links) < 2:
        return 0
    low, high = np.array([_chord(link, rank) for link in links]).T
    inside = (low[:, None] < low) & (low < high[:, None]) & (high[:, None] < high)
    return int(inside.sum())
