"""Polynomials in values known by key only: one form for a sum of products, however written.

A form is `((monomial, coefficient), ...)` in order, a monomial `((key, exponent), ...)` in order.
"""

import itertools
import math
from collections.abc import Hashable, Iterable

Monomial = tuple[tuple[int, int], ...]
Form = tuple[tuple[Monomial, float], ...]

# Larger products of sums are not multiplied out.
_MOST_TERMS = 200
_LARGEST_POWER = 6


def number(value: float) -> Form:
    return (((), value),) if value else ()


def value_of(form: Form) -> float | None:
    """The number that a form is; None of others."""
    if not form:
        return 0.0
    (monomial, coefficient), *others = form
    return None if monomial or others else coefficient


class Forms:
    """Makes forms; equal keys are one value."""

    def __init__(self):
        self.keys: dict[Hashable, int] = {}

    def value(self, key: Hashable) -> Form:
        """The form of a value by itself."""
        return ((((self.keys.setdefault(key, len(self.keys)), 1),), 1.0),)

    def sum(self, forms: Iterable[Form]) -> Form:
        found: dict[Monomial, list[float]] = {}
        for monomial, coefficient in itertools.chain.from_iterable(forms):
            found.setdefault(monomial, []).append(coefficient)
        added = ((monomial, math.fsum(terms)) for monomial, terms in found.items())
        return tuple(sorted((m, _rounded(c)) for m, c in added if _rounded(c)))

    def product(self, first: Form, second: Form) -> Form:
        if len(first) * len(second) > _MOST_TERMS:
            first, second = (self.whole(form) for form in (first, second))
        return self.sum(
            ((_merged(m, n), c * d),) for (m, c), (n, d) in itertools.product(first, second)
        )

    def whole(self, form: Form, exponent: int = 1) -> Form:
        """A form as one factor to a power, times a number."""
        if len(form) == 1:
            ((monomial, coefficient),) = form
            raised = tuple((key, power * exponent) for key, power in monomial)
            return ((raised, _rounded(coefficient**exponent)),)
        leading = form[0][1]
        scaled = tuple((monomial, _rounded(c / leading)) for monomial, c in form)
        key = self.keys.setdefault(("sum", scaled), len(self.keys))
        return ((((key, exponent),), _rounded(leading**exponent)),)

    def power(self, form: Form, exponent: int) -> Form | None:
        """A form to a whole power; None where it has none."""
        if exponent == 0:
            return number(1.0)
        if not form:
            return number(0.0) if exponent > 0 else None
        if len(form) == 1 or not 0 < exponent <= _LARGEST_POWER:
            return self.whole(form, exponent)
        found = form
        for _ in range(exponent - 1):
            found = self.product(found, form)
        return found


def _merged(first: Monomial, second: Monomial) -> Monomial:
    found = dict(first)
    for key, power in second:
        found[key] = found.get(key, 0) + power
    return tuple(sorted((key, power) for key, power in found.items() if power))


def _rounded(value: float) -> float:
    """A coefficient without the digits that the order of operations makes."""
    return float(f"{value:.11e}")
