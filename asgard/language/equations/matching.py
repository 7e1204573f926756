"""Matchings of relations to unknowns."""

import collections
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching


def matching(edges: Sequence[Sequence[str]], rows: Iterable[int]) -> dict[str, int]:
    """A maximum matching by augmenting paths, from names to rows; earlier rows come first."""
    matched: dict[str, int] = {}
    held: dict[int, str] = {}  # the same, from rows to names
    for start in rows:
        # A breadth-first search for a free name; `before` is the row that each name came from.
        before: dict[str, int] = {}
        pending = collections.deque([start])
        end = None
        while pending and end is None:
            row = pending.popleft()
            for name in edges[row]:
                if name not in before:
                    before[name] = row
                    if name not in matched:
                        end = name
                        break
                    pending.append(matched[name])
        while end is not None:
            row = before[end]
            matched[end] = row
            held[row], end = end, held.get(row)
    return matched


def heaviest(weights: Sequence[Mapping[str, int]]) -> dict[int, str]:
    """The matching of all rows, which have a weight for each name, whose weights sum to the most.

    There are as many names as rows, and a matching of all.
    """
    names = list(dict.fromkeys(name for row in weights for name in row))
    columns = {name: column for column, name in enumerate(names)}
    table = scipy.sparse.lil_array((len(weights), len(names)), dtype=np.float64)
    for row, by_name in enumerate(weights):
        for name, weight in by_name.items():
            table[row, columns[name]] = weight + 1  # a weight of 0 would be no entry
    rows, chosen = min_weight_full_bipartite_matching(table.tocsr(), maximize=True)
    return {int(row): names[column] for row, column in zip(rows, chosen, strict=True)}
