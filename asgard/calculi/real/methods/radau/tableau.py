"""The numbers of Radau IIA methods: nodes, collocation, eigenvalues.

Hairer and Wanner, *Solving Ordinary Differential Equations II*, IV.5 and IV.8, and *Stiff
differential equations solved by Radau methods* (J. Comput. Appl. Math. 111, 1999).
"""

import dataclasses
import functools
import math

import numpy as np

# The middle of a step, about which its polynomial is written.
CENTRE = 0.5

# The zeros of P_s(2c - 1) - P_{s-1}(2c - 1), with the Legendre polynomials P.
NODES: dict[int, tuple[float, ...]] = {
    3: (0.15505102572168219018, 0.64494897427831780982, 1.0),
    5: (
        0.057104196114517682193,
        0.27684301363812382768,
        0.58359043236891682006,
        0.86024013565621944785,
        1.0,
    ),
    7: (
        0.029316427159784891972,
        0.14807859966848429185,
        0.33698469028115429910,
        0.55867151877155013208,
        0.76923386203005450092,
        0.92694567131974111485,
        1.0,
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Tableau:
    """A Radau IIA method of s stages, for a step of size 1 from 0.

    The step's polynomial u has degree s and u(0) = 0. It is known by its values z at the nodes.

    - `nodes`: c, `[stages]`; the last is 1.
    - `slopes`: u'(c) = slopes z, `[stages, stages]`: the inverse of the matrix A.
    - `weights`: A itself.
    - `first_slope`: u'(0) = first_slope z, `[stages]`.
    - `centred`: the coefficients of x, x v, x v², ... in u are centred z, `[stages, stages]`, with
      v = x - `CENTRE`; `onward` has those of w, w², ... in u - u(1), with w = x - 1.
    - `between`: how much larger the error of u between the nodes is, at most, than the one of
      order s + 1 in the next coefficient: the largest |x (x - c₁) ... (x - c_s)|.
    - `real`, `imaginary`: a and b of the eigenvalues a - b i of slopes, `[systems]`: first the real
      one, then one of each conjugate pair, so there are (stages + 1) / 2 systems.
    - `to_systems`: from values at the stages to those by eigenvectors, `[2 systems, stages]`: the
      real parts of all systems, then the imaginary ones. `to_stages` is the way back.
    """

    nodes: np.ndarray
    slopes: np.ndarray
    weights: np.ndarray
    first_slope: np.ndarray
    centred: np.ndarray
    onward: np.ndarray
    between: float
    real: np.ndarray
    imaginary: np.ndarray
    to_systems: np.ndarray
    to_stages: np.ndarray

    @property
    def stages(self) -> int:
        return len(self.nodes)


@functools.cache
def tableau(stages: int) -> Tableau:
    """The numbers of the method of 3, 5 or 7 stages."""
    nodes = np.array(NODES[stages])
    derivatives = _differentiation(np.concatenate([[0.0], nodes]))[:, 1:]
    slopes = derivatives[1:]
    values, vectors = _eigen(slopes)
    return Tableau(
        nodes=nodes,
        slopes=slopes,
        weights=np.linalg.inv(slopes),
        first_slope=derivatives[0],
        centred=_powers(nodes, CENTRE),
        onward=_about_one(_powers(nodes, 0.0)),
        between=_between(nodes),
        real=np.real(values),
        imaginary=np.imag(values),
        to_systems=_by_system(np.linalg.inv(_columns(vectors)).T).T,
        to_stages=_by_system(_columns(vectors)),
    )


def _differentiation(points: np.ndarray) -> np.ndarray:
    """The matrix from the values of a polynomial at points to its derivatives there.

    By barycentric weights, which lose no digits (Berrut and Trefethen 2004, section 9.3).
    """
    apart = points[:, None] - points[None] + np.eye(len(points))
    weights = 1 / np.prod(apart, axis=1)
    matrix = weights[None] / weights[:, None] / apart
    np.fill_diagonal(matrix, np.sum(1 / apart, axis=1) - 1)
    return matrix


def _powers(nodes: np.ndarray, centre: float) -> np.ndarray:
    """The coefficients of x, x v, x v², ... of polynomials that are 0 at 0, from the values at
    nodes; v = x - centre."""
    columns = []
    for index, node in enumerate(nodes):
        others = np.delete(nodes, index)
        # About 0 all terms of one coefficient have one sign: no digits are lost.
        columns.append(np.poly(others - centre)[::-1] / (node * np.prod(node - others)))
    return np.stack(columns, axis=1)


def _about_one(powers: np.ndarray) -> np.ndarray:
    """The coefficients of (x - 1), (x - 1)², ... from those of x, x², ..."""
    orders = range(1, len(powers) + 1)
    shift = [[math.comb(higher, order) for higher in orders] for order in orders]
    return np.array(shift, powers.dtype) @ powers


def _between(nodes: np.ndarray) -> float:
    """The largest magnitude of x (x - c₁) ... (x - c_s) from 0 to 1."""
    x = np.linspace(0.0, 1.0, 2001)
    return float(np.max(np.abs(x * np.prod(x[:, None] - nodes, axis=1))))


def _eigen(slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The eigenvalues with imaginary parts of 0 or more, the real one first, and their vectors.

    Vectors are scaled so that their last entries are 1: the state at the step's end is their sum.
    """
    values, vectors = np.linalg.eig(slopes)
    order = np.argsort(np.abs(np.imag(values)))
    chosen = [index for index in order if index == order[0] or np.imag(values[index]) > 0]
    values = values[chosen]
    values[0] = np.real(values[0])
    return values, vectors[:, chosen] / vectors[-1, chosen]


def _columns(vectors: np.ndarray) -> np.ndarray:
    """The real matrix T of the vector of the real eigenvalue, and of real and imaginary parts of
    the others, by turns.

    If slopes v = (a + b i) v, then slopes T = T B with blocks [[a, b], [-b, a]] in B. The unknowns
    x and y of such a block are x + i y in the complex system with the number a - b i.
    """
    parts = [np.real(vectors[:, 0])]
    for vector in vectors[:, 1:].T:
        parts += [np.real(vector), np.imag(vector)]
    return np.stack(parts, axis=1)


def _by_system(columns: np.ndarray) -> np.ndarray:
    """Columns in the order of systems: all real parts, then all imaginary ones, 0 for the first."""
    nothing = np.zeros_like(columns[:, :1])
    return np.concatenate([columns[:, :1], columns[:, 1::2], nothing, columns[:, 2::2]], axis=1)
