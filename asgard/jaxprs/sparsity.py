"""Where a square matrix may differ from zero, and what follows.

A Jacobian that is mostly zero needs few derivatives: columns that share no row are found together
(Curtis, Powell and Reid, *On the estimation of sparse Jacobian matrices*, J. Inst. Maths. Applics.
13, 1974). One whose entries lie near the diagonal, perhaps in another order of its rows (Cuthill
and McKee), is factored as a band.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int


@dataclasses.dataclass(frozen=True, eq=False)
class Pattern:
    """Where a square matrix may differ from zero, and how it is compressed and ordered.

    - `rows`, `columns`: the indices of the entries that may differ from zero.
    - `colors`: a number for each column; columns of one number share no row. So the matrix times
      `seeds` has all entries: that of (row, column) stands at (row, colors[column]).
    - `order`: the order of rows and columns in which they lie nearest to the diagonal.
    - `lower`, `upper`: how many diagonals they take there below and above the main one, at least 1.
    """

    size: int
    rows: Int[np.ndarray, " entries"]
    columns: Int[np.ndarray, " entries"]
    colors: Int[np.ndarray, " size"]
    order: Int[np.ndarray, " size"]
    lower: int
    upper: int

    @property
    def count(self) -> int:
        """How many colors there are."""
        return int(self.colors.max()) + 1

    @property
    def is_band(self) -> bool:
        """Whether factors of a band are much smaller than those of the whole matrix."""
        return 8 * (self.lower + self.upper) <= self.size

    def whole(self, compressed: Array) -> Array:
        """The matrix `[size, size, *lanes]` from its products by the seeds."""
        entries = compressed[self.colors[self.columns], self.rows]
        blank = jnp.zeros((self.size, *compressed.shape[1:]), compressed.dtype)
        return blank.at[self.rows, self.columns].set(entries)

    def band(self, compressed: Array) -> Array:
        """The matrix in its order, from its products by the seeds: `[size, diagonals, *lanes]`.

        Row i has the entries from column i - lower to i + upper, 0 where there is no such column.
        """
        place = np.argsort(self.order)
        row, column = place[self.rows], place[self.columns]
        return self._spread(compressed, row, column - row + self.lower)

    def transposed_band(self, compressed: Array) -> Array:
        """The transpose in its order, likewise, with `upper` diagonals below the main one."""
        place = np.argsort(self.order)
        row, column = place[self.columns], place[self.rows]
        return self._spread(compressed, row, column - row + self.upper)

    def _spread(self, compressed: Array, row: np.ndarray, column: np.ndarray) -> Array:
        entries = compressed[self.colors[self.columns], self.rows]
        shape = (self.size, self.lower + 1 + self.upper, *compressed.shape[2:])
        return jnp.zeros(shape, compressed.dtype).at[row, column].set(entries)

    @property
    def seeds(self) -> np.ndarray:
        """The vectors to multiply by, `[colors, size]`."""
        return (self.colors[None] == np.arange(self.count)[:, None]).astype(float)


def pattern_of(depends: Bool[np.ndarray, "n n"]) -> Pattern:
    """The pattern of a matrix by where it may differ from zero."""
    import scipy.sparse

    size = len(depends)
    rows, columns = np.nonzero(depends | np.eye(size, dtype=bool))
    sparse = scipy.sparse.csr_array((np.ones(len(rows)), (rows, columns)), (size, size))
    order = _narrowest(sparse)
    place = np.empty(size, int)
    place[order] = np.arange(size)
    below = place[rows] - place[columns]
    lower, upper = max(int(below.max()), 1), max(int(-below.min()), 1)
    return Pattern(size, rows, columns, _colors(sparse.tocsc()), order, lower, upper)


def _narrowest(matrix: Any) -> np.ndarray:
    """The order as it is, or that of Cuthill and McKee where it is narrower."""
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    found = np.asarray(reverse_cuthill_mckee(matrix.tocsr(), symmetric_mode=False))
    rows, columns = matrix.nonzero()
    place = np.empty(len(found), int)
    place[found] = np.arange(len(found))
    as_it_is = np.max(np.abs(rows - columns), initial=0)
    in_order = np.max(np.abs(place[rows] - place[columns]), initial=0)
    return found if in_order < as_it_is else np.arange(len(found))


def _colors(matrix: Any) -> np.ndarray:
    """A color for each column: the first that no column has with which it shares a row."""
    taken = np.zeros((matrix.shape[0], 8), bool)
    colors = np.zeros(matrix.shape[1], int)
    for column in range(matrix.shape[1]):
        rows = matrix.indices[matrix.indptr[column] : matrix.indptr[column + 1]]
        used = np.logical_or.reduce(taken[rows])
        if used.all():  # room for twice as many
            taken = np.concatenate([taken, np.zeros_like(taken)], axis=1)
            used = np.concatenate([used, np.zeros_like(used)])
        colors[column] = np.argmin(used)
        taken[rows, colors[column]] = True
    return colors
