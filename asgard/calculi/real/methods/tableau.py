"""`Tableau`: the coefficients of an explicit Runge-Kutta method, all of them checked."""

import dataclasses
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from ....circuits.fields import check_count
from ....errors import CircuitError

Row = tuple[float, ...]

# Published coefficients satisfy their conditions up to so much.
CLOSE = 1e-9
# Stability is tested at this part of its bound, which is often rounded.
WITHIN = 0.9


@dataclasses.dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method whose last stage is the slope at the step's end.

    - `order`: that of the solution.
    - `times`: where in the step the stages are, as parts of it; first those of the step, then those
      that only the dense output needs.
    - `stages`: row i weights the slopes before stage i + 1. The last row gives the solution.
    - `more`: the same for the stages that only the dense output needs.
    - `errors`: a tuple of one row or two, one for each error estimate. A row weights the slopes of
      the step: the solution's weights less those of a solution of lower order. Of two estimates,
      the first has the higher order. Zeros at the end of a row may be left out.
    - `dense`: the step's polynomial. Entry k of row i is the weight of slope i in the coefficient
      of power k + 1, in parts of the step. There is a row for every stage.
    - `stability`: up to which h |λ| the method is stable, for negative λ.

    **Raises:** `CircuitError` where these do not fit together, or are no method of this order.

    Source: Hairer, Nørsett and Wanner, *Solving Ordinary Differential Equations I*, 1993, sections
    II.1 (stages), II.4 (errors) and II.6 (dense output).

    ```python
    ag.Tableau(  # the method of Heun, of order 2, with the error of Euler's method
        order=2,
        times=(0.0, 1.0, 1.0),
        stages=((1.0,), (0.5, 0.5)),
        errors=((-0.5, 0.5, 0.0),),
        dense=((1.0, -0.5), (0.0, 0.5), (0.0, 0.0)),
        stability=2.0,
    )
    ```
    """

    order: int
    times: Row
    stages: tuple[Row, ...]
    errors: tuple[Row, ...]
    dense: tuple[Row, ...]
    stability: float
    more: tuple[Row, ...] = ()

    def __post_init__(self):
        check_count("Tableau", "order", self.order, least=1)
        _check_numbers("times", self.times)
        for name in ("stages", "errors", "dense", "more"):
            _check_rows(name, getattr(self, name))
        _check(_is_number(self.stability), f"stability must be a number, not {self.stability!r}")
        self._check_lengths()
        self._check_stages()
        self._check_errors()
        self._check_dense()
        self._check_stability()

    def _check_lengths(self) -> None:
        """Raises where rows are missing, or are too short or too long."""
        count, whole = len(self.stages) + 1, len(self.times)
        _check(len(self.stages) > 0, "stages has no row; the last one gives the solution")
        wanted = count + len(self.more)
        _check(
            whole == wanted,
            f"times must have {wanted} numbers, not {whole}: one for the start of the step, and "
            "one for each row of stages and of more",
        )
        for index, row in enumerate(self.stages):
            _check_length(f"stages[{index}]", row, index + 1, "one for each stage before")
        for index, row in enumerate(self.more):
            _check_length(f"more[{index}]", row, count + index, "one for each stage before")
        _check(len(self.errors) in (1, 2), f"errors must be 1 row or 2, not {len(self.errors)}")
        for index, row in enumerate(self.errors):
            _check(
                len(row) <= count,
                f"errors[{index}] has {len(row)} numbers, and the step has {count} stages",
            )
        _check(
            len(self.dense) == whole,
            f"dense must have {whole} rows, one for each stage, not {len(self.dense)}",
        )
        degree = len(self.dense[0])
        _check(degree > 0, "dense[0] is empty; it has one number for each power")
        for index, row in enumerate(self.dense):
            _check_length(f"dense[{index}]", row, degree, "one for each power, as dense[0]")

    def _check_stages(self) -> None:
        """Raises where the stages are not at their times, or the solution is not of its order."""
        last = len(self.stages)
        _check_sum("times[0], the start of the step,", self.times[:1], 0.0)
        _check_sum(f"times[{last}], the end of the step,", self.times[last : last + 1], 1.0)
        rows = [(f"stages[{index}]", row) for index, row in enumerate(self.stages)]
        rows += [(f"more[{index}]", row) for index, row in enumerate(self.more)]
        for index, (name, row) in enumerate(rows, start=1):
            _check_sum(f"the sum of {name}, which is times[{index}],", row, self.times[index])
        for power in range(1, self.order):
            terms = [b * c**power for b, c in zip(self.stages[-1], self.times, strict=False)]
            what = f"a solution of order {self.order}: the sum of stages[-1] * times**{power}"
            _check_sum(what, terms, 1 / (power + 1))

    def _check_errors(self) -> None:
        """Raises where an estimate of the error is none of a method."""
        for index, row in enumerate(self.errors):
            why = "the solution's weights less others"
            _check_sum(f"the sum of errors[{index}], {why},", row, 0.0)
            _check(any(row), f"errors[{index}] is 0 throughout, and estimates no error")

    def _check_dense(self) -> None:
        """Raises where the polynomial is not the solution at the end, or no solution of y' = 1."""
        weights = (*self.stages[-1], *(0.0,) * len(self.times))
        for index, (row, weight) in enumerate(zip(self.dense, weights, strict=False)):
            what = f"the sum of dense[{index}], the weight of slope {index} in the solution,"
            _check_sum(what, row, weight)
        for power, column in enumerate(zip(*self.dense, strict=True), start=1):
            what = f"the sum of all weights of power {power} in dense"
            _check_sum(what, column, 1.0 if power == 1 else 0.0)

    def _check_stability(self) -> None:
        """Raises where y' = -y grows by a step within the bound."""
        _check(self.stability > 0, f"stability must be positive, not {self.stability!r}")
        step, slopes = WITHIN * self.stability, [-1.0]
        for row in self.stages:
            slopes.append(-1.0 - step * float(np.dot(row, slopes[: len(row)])))
        _check(
            abs(slopes[-1]) <= 1 + CLOSE,
            f"stability {self.stability:g} is too large: a step of size {step:g} of y' = -y "
            f"multiplies y by {-slopes[-1]:.3g}",
        )


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise CircuitError(f"Tableau: {message}")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _check_numbers(name: str, row: Any) -> None:
    """Raises where a row is no tuple of numbers."""
    good = isinstance(row, tuple) and all(map(_is_number, row))
    _check(good, f"{name} must be a tuple of numbers, not {row!r:.80}")


def _check_rows(name: str, rows: Any) -> None:
    """Raises where rows are no tuple of tuples of numbers."""
    _check(isinstance(rows, tuple), f"{name} must be a tuple of rows, not {rows!r:.80}")
    for index, row in enumerate(rows):
        _check_numbers(f"{name}[{index}]", row)


def _check_length(name: str, row: Row, wanted: int, why: str) -> None:
    found = len(row)
    _check(found == wanted, f"{name} must be of length {wanted}, not {found}: {why}")


def _check_sum(name: str, terms: Sequence[float], wanted: float) -> None:
    """Raises where terms do not add up to a number, as far as their sizes let them."""
    found, size = math.fsum(terms), math.fsum(map(abs, terms))
    close = abs(found - wanted) <= CLOSE * max(1.0, size)
    _check(close, f"{name} must be {wanted:.10g}, not {round(found, 10):.10g}")
