"""Functions under `@ag.circuit` back to formulas: the code of an excerpt as expressions."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import CircuitError
from ...jaxprs.concrete import is_concrete
from ...jaxprs.program import Equation
from ..functions.excerpt import Excerpt
from . import tree

# A formula of more parts than this is no text to read.
_MOST_PARTS = 1000
# Primitives that change how a number is held, not what it is.
_SAME = {"broadcast_in_dim", "convert_element_type", "copy", "optimization_barrier", "reshape"}
_CALLS = {
    "abs": "abs",
    "acos": "arccos",
    "acosh": "arccosh",
    "asin": "arcsin",
    "asinh": "arcsinh",
    "atan": "arctan",
    "atanh": "arctanh",
    "cos": "cos",
    "cosh": "cosh",
    "erf": "erf",
    "exp": "exp",
    "log": "log",
    "logistic": "sigmoid",
    "max": "maximum",
    "min": "minimum",
    "sin": "sin",
    "sinh": "sinh",
    "sqrt": "sqrt",
    "tan": "tan",
    "tanh": "tanh",
}
_RELATIONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}


def formulas(atom: Excerpt, parts: Sequence[tree.Expression]) -> list[tree.Expression]:
    """What an excerpt drives, from what it reads.

    Raises `CircuitError` for code that is no formula of numbers.
    """
    code = atom.code
    if any(code.types[value].shape for value in code.reads):
        raise CircuitError(f"to_equations: a wire in {code.owner} carries an array")
    known = dict(zip(code.reads, parts, strict=True))
    sizes = dict.fromkeys(code.reads, 1)
    numbers = zip(code.numbers, atom.numbers, strict=True)
    for value, one in (*code.constants.items(), *numbers):
        known[value], sizes[value] = number_of(code.owner, one), 1
    for equation in code.equations:
        made = _made(equation, [known[value] for value in equation.ins])
        size = 1 + sum(sizes[value] for value in equation.ins)
        if made is None:
            raise CircuitError(
                f"to_equations: {code.owner} uses the JAX primitive {equation.name!r} as no "
                "equation does"
            )
        if size > _MOST_PARTS:
            raise CircuitError(
                f"to_equations: a formula in {code.owner} has more than {_MOST_PARTS} parts"
            )
        (value,) = equation.outs
        known[value], sizes[value] = made, size
    return [known[value] for value in code.drives]


def number_of(owner: str, value: Any) -> tree.Expression:
    """A known real number of what has a name. Raises `CircuitError` for anything else."""
    if not is_concrete(value) or np.ndim(value) or np.iscomplexobj(value):
        raise CircuitError(f"to_equations: {owner} holds what is no known real number")
    # The fewest digits that the dtype of the circuit reads back.
    number = float(str(np.asarray(value)[()]))
    if not np.isfinite(number):
        raise CircuitError(f"to_equations: {owner} holds {number}")
    return tree.Number(number) if number >= 0 else tree.Negative(tree.Number(-number))


def product_of(parts: Sequence[tree.Expression]) -> tree.Expression:
    return tree.Product(tuple(parts)) if len(parts) > 1 else parts[0]


def sum_of(parts: Sequence[tree.Expression]) -> tree.Expression:
    """A sum, with the signs of its terms before them."""
    terms = []
    for part in parts:
        match part:
            case tree.Product((tree.Negative(first), *rest)) if terms:
                terms.append(tree.Negative(tree.Product((first, *rest))))
            case _:
                terms.append(part)
    return tree.Sum(tuple(terms)) if len(terms) > 1 else terms[0]


def _made(equation: Equation, parts: list[tree.Expression]) -> tree.Expression | None:
    """What an equation of numbers makes of its operands. None where no text says it."""
    name, params = equation.name, equation.params
    if name in _SAME and not params.get("shape") and not params.get("new_sizes"):
        return parts[0]
    if name in _CALLS:
        return tree.Call(_CALLS[name], tuple(parts))
    if name in _RELATIONS:
        return tree.Comparison(_RELATIONS[name], parts[0], parts[1])
    if name == "integer_pow":
        return tree.Power(parts[0], number_of("a power", params["y"]))
    if name == "select_n" and len(parts) == 3:
        condition, otherwise, then = parts
        return tree.Call("if", (condition, then, otherwise))
    rule = _RULES.get(name)
    return None if rule is None else rule(*parts)


_ONE, _TWO = tree.Number(1.0), tree.Number(2.0)


def _terms(part: tree.Expression) -> tuple[tree.Expression, ...]:
    return part.terms if isinstance(part, tree.Sum) else (part,)


def _factors(part: tree.Expression) -> tuple[tree.Expression, ...]:
    return part.factors if isinstance(part, tree.Product) else (part,)


def _negative(part: tree.Expression) -> tree.Expression:
    match part:
        case tree.Negative(body):
            return body
        case tree.Product((tree.Negative(first), *rest)):
            return tree.Product((first, *rest))
    return tree.Negative(part)


def _plus(first: tree.Expression, second: tree.Expression) -> tree.Expression:
    return sum_of([*_terms(first), *_terms(second)])


def _minus(first: tree.Expression, second: tree.Expression) -> tree.Expression:
    return sum_of([*_terms(first), _negative(second)])


def _times(first: tree.Expression, second: tree.Expression) -> tree.Expression:
    factors = [*_factors(first), *_factors(second)]
    match [factor for factor in factors if factor != _ONE]:
        case []:
            return _ONE
        case [tree.Negative(body), one, *rest] if body == _ONE:
            return tree.Negative(product_of([one, *rest]))
        case others:
            return product_of(others)


def _over(first: tree.Expression, second: tree.Expression) -> tree.Expression:
    return product_of([*_factors(first), tree.Reciprocal(second)])


_RULES: dict[str, Callable[..., tree.Expression]] = {
    "add": _plus,
    "add_any": _plus,
    "sub": _minus,
    "mul": _times,
    "div": _over,
    "neg": _negative,
    "pow": tree.Power,
    "square": lambda x: tree.Power(x, _TWO),
    "rsqrt": lambda x: tree.Reciprocal(tree.Call("sqrt", (x,))),
    "log1p": lambda x: tree.Call("log", (_plus(_ONE, x),)),
    "expm1": lambda x: _minus(tree.Call("exp", (x,)), _ONE),
}
