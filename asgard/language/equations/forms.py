"""Expressions as forms: linear in some of their nodes, or polynomials in coordinates."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .expressions import Coordinate, Node, Polynomial, Pool, Power, Product, Sum, parts

# A polynomial: the factor of each product of coordinates to their powers.
Monomials = dict[tuple[tuple[str, int], ...], int]


def polynomial(pool: Pool, root: int) -> int | None:
    """A polynomial in coordinates, None where an expression is none."""
    found: dict[int, Monomials | None] = {}
    for index in pool.reach([root]):
        node = pool[index]
        if pool.constant[index]:
            found[index] = {(): index}
        elif isinstance(node, Coordinate):
            found[index] = {((node.dim, 1),): pool.number(1.0)}
        else:
            forms = [found[part] for part in parts(node)]
            exponent = pool.value(node.parts[1]) if isinstance(node, Power) else None
            if any(form is None for form in forms):
                found[index] = None
            elif isinstance(node, Sum):
                found[index] = _added(pool, [form for form in forms if form is not None])
            elif isinstance(node, Product):
                found[index] = _multiplied(pool, [form for form in forms if form is not None])
            elif exponent in range(2, 100):
                found[index] = _multiplied(pool, [forms[0] or {}] * int(exponent or 0))
            else:
                found[index] = None
    terms = found[root]
    if terms is None:
        return None
    dims = tuple(dict.fromkeys(dim for monomial in terms for dim, _ in monomial))
    exponents = tuple(tuple(dict(one).get(dim, 0) for dim in dims) for one in terms)
    return pool.add(Polynomial(tuple(terms.values()), dims, exponents))


def _added(pool: Pool, forms: Sequence[Monomials]) -> Monomials:
    terms: dict[Any, list[int]] = {}
    for form in forms:
        for monomial, factor in form.items():
            terms.setdefault(monomial, []).append(factor)
    return {monomial: pool.sum(factors) for monomial, factors in terms.items()}


def _multiplied(pool: Pool, forms: Sequence[Monomials]) -> Monomials:
    product: Monomials = {(): pool.number(1.0)}
    for form in forms:
        terms: list[Monomials] = []
        for one, factor in product.items():
            for other, by in form.items():
                orders = dict(one)
                for dim, order in other:
                    orders[dim] = orders.get(dim, 0) + order
                terms.append({tuple(sorted(orders.items())): pool.product((factor, by))})
        product = _added(pool, terms)
    return product


@dataclasses.dataclass(frozen=True)
class Linear:
    """A sum of symbols, each times its factor in `slopes`, and of the rest."""

    slopes: Mapping[int, int]
    rest: int


def linear(
    pool: Pool, root: int, symbols: Iterable[int], into: Callable[[Node], bool] | None = None
) -> Linear | None:
    """An expression as linear in symbols, None where it is not.

    `into` says in the parts of which nodes symbols are looked for.
    """
    marked = set(symbols)
    found: dict[int, Linear | None] = {}
    for index in pool.reach([root], into):
        node = pool[index]
        if index in marked:
            found[index] = Linear({index: pool.number(1.0)}, pool.number(0.0))
            continue
        inside = parts(node) if into is None or into(node) else ()
        forms = [form for part in inside if (form := found[part]) is not None]
        if len(forms) < len(inside):
            found[index] = None
        elif not any(form.slopes for form in forms):
            found[index] = Linear({}, index)
        elif isinstance(node, Sum):
            found[index] = _sum(pool, forms)
        elif isinstance(node, Product):
            found[index] = _product(pool, node.parts, forms)
        else:
            found[index] = None
    return found[root]


def _sum(pool: Pool, forms: Sequence[Linear]) -> Linear:
    factors: dict[int, list[int]] = {}
    for form in forms:
        for symbol, factor in form.slopes.items():
            factors.setdefault(symbol, []).append(factor)
    slopes = {symbol: pool.sum(terms) for symbol, terms in factors.items()}
    return Linear(slopes, pool.sum(form.rest for form in forms))


def _product(pool: Pool, factors: Sequence[int], forms: Sequence[Linear]) -> Linear | None:
    holding = [place for place, form in enumerate(forms) if form.slopes]
    if len(holding) > 1:
        return None
    (place,) = holding
    others = [*factors[:place], *factors[place + 1 :]]
    slopes = {
        symbol: pool.product((*others, slope)) for symbol, slope in forms[place].slopes.items()
    }
    return Linear(slopes, pool.product((*others, forms[place].rest)))
