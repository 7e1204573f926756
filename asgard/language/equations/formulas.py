"""Functions under `@ag.circuit` back to formulas: the code of an excerpt as expressions."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import CircuitError
from ...jaxprs.concrete import is_concrete
from ...jaxprs.program import Equation, from_jaxpr
from ..functions.excerpt import Excerpt
from . import tree

# A formula of more parts than this is no text to read.
_MOST_PARTS = 1000
# Primitives that change how a number is held. Not what it is, but for conversions: see `holds`.
_HOLDS = {
    "broadcast_in_dim",
    "copy",
    "optimization_barrier",
    "reshape",
    "stop_gradient",
}
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


@dataclasses.dataclass(frozen=True)
class Symbol:
    """How a number of an atom depends on parameters, in place of the number."""

    expression: tree.Expression


@dataclasses.dataclass(frozen=True)
class Formula:
    """An expression, and of how many parts it is."""

    expression: tree.Expression
    size: int = 1


def holds(equation: Equation, types: Sequence[jax.ShapeDtypeStruct]) -> bool:
    """Whether an equation changes only how numbers of these types are held, up to rounding.

    A conversion to integers cuts digits off, and one to truth values asks whether a number is 0.
    """
    if equation.name != "convert_element_type":
        return equation.name in _HOLDS
    before, after = types[0].dtype, equation.params["new_dtype"]
    return _kind(before) <= _kind(after)


def _kind(dtype: Any) -> int:
    """Truth values, integers, real and complex numbers in this order: each may be the next."""
    kinds = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
    return next(place for place, kind in enumerate(kinds) if jnp.issubdtype(dtype, kind))


def formulas(atom: Excerpt, parts: Sequence[tree.Expression]) -> list[tree.Expression]:
    """What an excerpt drives, from what it reads.

    Raises `CircuitError` for code that is no formula of numbers.
    """
    code = atom.code
    if any(code.types[value].shape for value in code.reads):
        raise CircuitError(
            f"to_equations: a wire in {code.owner} carries an array, and equations are of numbers: "
            "say each entry by itself"
        )
    known = {value: Formula(part) for value, part in zip(code.reads, parts, strict=True)}
    numbers = zip(code.numbers, atom.numbers, strict=True)
    for value, one in (*code.constants.items(), *numbers):
        known[value] = Formula(number_of(code.owner, one))
    _write(code.owner, code.equations, code.types, known)
    return [known[value].expression for value in code.drives]


def _write(
    owner: str,
    equations: Iterable[Equation],
    types: Mapping[int, jax.ShapeDtypeStruct],
    known: dict[int, Formula],
) -> None:
    """Adds what equations make to what is known of their operands."""
    for equation in equations:
        operands = [known[value] for value in equation.ins]
        made = written(owner, equation, operands, [types[value] for value in equation.ins])
        known.update(dict.fromkeys(equation.outs, made))


def _called(owner: str, equation: Equation, parts: Sequence[Formula]) -> Formula:
    """What a function with derivatives of its own makes of its operands, such as `jax.nn.relu`."""
    program = from_jaxpr(equation.params["call_jaxpr"])
    known = dict(zip(program.inputs, parts, strict=True))
    for value, one in program.constants.items():
        known[value] = Formula(number_of(owner, one))
    _write(owner, program.equations, program.avals, known)
    return known[program.outputs[0]]


def written(
    owner: str,
    equation: Equation,
    parts: Sequence[Formula],
    types: Sequence[jax.ShapeDtypeStruct],
) -> Formula:
    """What an equation of real numbers makes of its operands, which are of these types.

    Raises `CircuitError` where no text says it, and for one that is too long to read.
    """
    if equation.name in ("custom_jvp_call", "custom_vjp_call") and len(equation.outs) == 1:
        return _called(owner, equation, parts)
    made = _made(equation, [part.expression for part in parts], types)
    if made is None:
        what = f"uses the JAX primitive {equation.name!r}"
        if equation.name == "convert_element_type":
            what = "cuts numbers to integers"
        raise CircuitError(f"to_equations: {owner} {what} as no equation does")
    size = 1 + sum(part.size for part in parts)
    if size > _MOST_PARTS:
        raise CircuitError(f"to_equations: a formula in {owner} has more than {_MOST_PARTS} parts")
    return Formula(made, size)


def number_of(owner: str, value: Any) -> tree.Expression:
    """A known real number of what has a name, or the expression that a symbol has for it.

    Raises `CircuitError` for anything else.
    """
    if isinstance(value, Symbol):
        return value.expression
    if np.ndim(value):
        raise CircuitError(
            f"to_equations: {owner} holds an array of shape {np.shape(value)}, and equations are "
            "of numbers: say each entry by itself"
        )
    if not is_concrete(value) or np.iscomplexobj(value):
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


def _made(
    equation: Equation, parts: list[tree.Expression], types: Sequence[jax.ShapeDtypeStruct]
) -> tree.Expression | None:
    """What an equation of numbers makes of its operands. None where no text says it."""
    name, params = equation.name, equation.params
    if holds(equation, types) and not params.get("shape") and not params.get("new_sizes"):
        return parts[0]
    if name == "convert_element_type" and params["new_dtype"] == jnp.bool_:
        return tree.Comparison("!=", parts[0], _ZERO)
    if name in _CALLS:
        return tree.Call(_CALLS[name], tuple(parts))
    if name in _RELATIONS:
        return tree.Comparison(_RELATIONS[name], parts[0], parts[1])
    if name == "integer_pow":
        return tree.Power(parts[0], number_of("a power", params["y"]))
    if name == "select_n" and len(parts) == 3:
        condition, otherwise, then = parts
        return tree.Call("if", (condition, then, otherwise))
    truths = bool(types) and types[0].dtype == jnp.bool_
    rule = _LOGIC.get(name) if truths and name in _LOGIC else _RULES.get(name)
    return None if rule is None else rule(*parts)


_ZERO, _ONE, _TWO = (tree.Number(value) for value in (0.0, 1.0, 2.0))


def terms_of(part: tree.Expression) -> tuple[tree.Expression, ...]:
    return part.terms if isinstance(part, tree.Sum) else (part,)


def factors_of(part: tree.Expression) -> tuple[tree.Expression, ...]:
    return part.factors if isinstance(part, tree.Product) else (part,)


def negative(part: tree.Expression) -> tree.Expression:
    match part:
        case tree.Negative(body):
            return body
        case tree.Product((tree.Negative(first), *rest)):
            return tree.Product((first, *rest))
    return tree.Negative(part)


def _plus(first: tree.Expression, second: tree.Expression) -> tree.Expression:
    return sum_of([*terms_of(first), *terms_of(second)])


def _minus(first: tree.Expression, second: tree.Expression) -> tree.Expression:
    return sum_of([*terms_of(first), negative(second)])


def _times(first: tree.Expression, second: tree.Expression) -> tree.Expression:
    factors = [*factors_of(first), *factors_of(second)]
    match [factor for factor in factors if factor != _ONE]:
        case []:
            return _ONE
        case [tree.Negative(body), one, *rest] if body == _ONE:
            return tree.Negative(product_of([one, *rest]))
        case others:
            return product_of(others)


def _over(first: tree.Expression, second: tree.Expression) -> tree.Expression:
    return product_of([*factors_of(first), tree.Reciprocal(second)])


# Of truth values, which are 1 and 0.
_LOGIC: dict[str, Callable[..., tree.Expression]] = {
    "and": _times,
    "or": lambda x, y: tree.Call("maximum", (x, y)),
    "not": lambda x: _minus(_ONE, x),
}
_RULES: dict[str, Callable[..., tree.Expression]] = {
    "add": _plus,
    "add_any": _plus,
    "sub": _minus,
    "mul": _times,
    "div": _over,
    "neg": negative,
    "pow": tree.Power,
    "square": lambda x: tree.Power(x, _TWO),
    "rsqrt": lambda x: tree.Reciprocal(tree.Call("sqrt", (x,))),
    "log1p": lambda x: tree.Call("log", (_plus(_ONE, x),)),
    "expm1": lambda x: _minus(tree.Call("exp", (x,)), _ONE),
}
