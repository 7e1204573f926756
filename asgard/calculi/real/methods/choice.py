"""The method that a run takes where none is given.

The bounds come from `benchmarks/explicit.py`, which compares the methods at equal errors.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ....jaxprs.concrete import is_concrete
from ....jaxprs.program import Program
from .method import StepMethod
from .runge_kutta import Dopri8, Tsit5
from .taylor import Taylor

# Relative tolerances from which on a method of order 5 or 8 gets there fastest.
LOOSE, MIDDLE = 1e-4, 1e-11
# States of more numbers take longer to expand than to evaluate as often as `Dopri8` does.
LARGE = 64
# At tight tolerances a product by a matrix of no more numbers is no reason to leave `Taylor`. The
# outer solar system sums pulls by matrices of 810: it takes 15,361 Taylor steps and 341 ms for
# 10,000 years; 65,536 steps of `Dopri8`, in 373 ms, do not get there.
LARGE_MATRIX = 2048
# Written-out products are parts of kernels, which hold a matrix by a vector and no other product.
# Up to so many numbers the field's are written out. Measured: the pulls between six bodies by
# `einsum`, 108 numbers in batches, take a sixth of the time with `Taylor`, and a third with
# `Dopri8` and `Tsit5`. A network of 16 tanh in 64 runs takes two fifths with `Taylor`; with
# `Dopri8`, whose products XLA's library takes for all runs at once, four times as long.
MOST, MOST_IN_SERIES, MOST_IN_BATCHES = 64, 256, 1024
# A resolution of more than this is coarse: that of float32.
COARSE = 1e-10


def looseness(rtol: Any) -> str:
    """How loose a tolerance of `Real` is: "loose", "middle" or "tight".

    The tightest number counts. A tolerance that is traced is not known, and is taken as tight.
    """
    leaves = jax.tree.leaves(rtol)
    if not leaves or not all(map(is_concrete, leaves)):
        return "tight"
    least = min(float(np.min(np.asarray(leaf), initial=np.inf)) for leaf in leaves)
    return "loose" if least >= LOOSE else "middle" if least >= MIDDLE else "tight"


def chosen(tolerance: str, field: Program, size: int, dtype: Any, *, branches: bool) -> StepMethod:
    """The method for a system, by the looseness of its tolerance.

    **Arguments:** `field` is the right-hand side as a program, `size` how many numbers the state
    has, and `dtype` theirs; `branches` says that the field may branch between events.
    """
    large = not is_small(field, size)
    if not large and branches:
        # A Taylor step finds where the equation branches; embedded errors step over it.
        return Taylor()
    if jnp.finfo(dtype).eps > COARSE:
        # Few digits are left for a high order to win, and its large weights cost some of them.
        return Tsit5() if tolerance == "loose" or large else Taylor()
    if tolerance == "loose" and large:
        return Tsit5()
    heavy = size > LARGE or _largest_factor(field) > LARGE_MATRIX
    return Dopri8() if tolerance != "tight" or heavy else Taylor()


def is_small(field: Program, size: int) -> bool:
    """Whether a system has a state of few numbers, and no product of matrices."""
    return size <= LARGE and _largest_factor(field) == 0


def most_products(method: StepMethod) -> tuple[int, int]:
    """How many numbers a product of matrices multiplies at most where it is written out, and how
    many where the matrices stand in batches."""
    if "jacobian" in method.reads:
        return MOST, MOST
    return (MOST_IN_SERIES if method.is_series else MOST), MOST_IN_BATCHES


def _largest_factor(field: Program) -> int:
    """How many numbers the largest factor of a product of matrices has; 0 without products."""
    products = (one for one in field.equations if one.name == "dot_general")
    sizes = (field.avals[number].size for one in products for number in one.ins)
    return max(sizes, default=0)
