"""Rules of what holds programs: `cond`, `scan`, `while`, and functions under `jax.custom_jvp`.

An index or a predicate has its value at order 0. The bodies are lifted like any program. The series
that they remember are auxiliary series of the rule; in a scan these have a value for each turn.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array

from ...jaxprs.program import scan_counts
from ..registry import Rewrite
from ..rule import Application, Need, Rule, coefficient
from ..series import Body, Order, Series
from .inner import Inner


def cond(application: Application) -> Rule:
    """The branch that the index chooses at order 0.

    The rule remembers what each branch does, with zeros for the branches not taken.
    """
    carried = application.carried[1:]
    branches = [
        Inner(branch, series=carried, given=[True] * len(carried))
        for branch in application.equation.params["branches"]
    ]
    outputs = tuple(map(any, zip(*(branch.output_is_series for branch in branches), strict=True)))
    histories = [branch.memory.histories for branch in branches]
    held = [branch.held for branch in branches]

    def zeros(number: int, names: Sequence[int]) -> list[Array]:
        avals = branches[number].lifted.avals
        return [jnp.zeros(avals[name].shape, avals[name].dtype) for name in names]

    def among(number: int, own: Sequence[Any], names: Sequence[Sequence[int]]) -> list[Any]:
        """The memory of one branch, with zeros for the others."""
        parts = [own if i == number else zeros(i, those) for i, those in enumerate(names)]
        return [value for part in parts for value in part]

    def start(index: Any, *operands: Any) -> Sequence[Any]:
        def branch(number: int) -> list[Any]:
            results, first, values = branches[number].start(operands)
            return [*results, *among(number, first, histories), *among(number, values, held)]

        return _switch(index, branch, len(branches))

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Any]:
        index, *ins = operands[: len(carried) + 1]
        bodies = _parts([one.body for one in series], map(len, histories))
        values = _parts(operands[len(carried) + 1 :], map(len, held))

        def branch(number: int) -> list[Any]:
            results, after = branches[number].step(n, ins, bodies[number], values[number])
            return [*_chosen(results, outputs), *among(number, after, histories)]

        return _switch(index, branch, len(branches))

    most = zip(*(branch.needs for branch in branches), strict=True)
    needs = [max(needs, key=lambda need: need.value) for needs in most]
    return Rule(
        start,
        step,
        held=sum(map(len, held)),
        outputs=outputs,
        needs=(Need.CURRENT, *needs),
        own=False,
    )


def call(application: Application) -> Rule:
    """A function under `jax.custom_jvp`."""
    return _with_own_derivative(application, application.equation.params["call_jaxpr"])


def high_call(application: Application) -> Rule | Rewrite:
    """A function that JAX says by a class, as of jax 0.12: one of other functions, but for roots,
    which have derivatives of their own."""
    equation = application.equation
    primitive: Any = equation.primitive
    expanded = functools.partial(primitive.to_lojax, **equation.params)
    if type(equation.params["_prim"]).__name__ != "CustomRoot":
        return Rewrite(expanded)
    return _with_own_derivative(application, jax.make_jaxpr(expanded)(*application.avals))


def _with_own_derivative(application: Application, body: ClosedJaxpr) -> Rule:
    """A function with a derivative of its own, which order 0 has. Later coefficients, and their
    derivatives, are those of its operations, the `body`."""
    equation, carried = application.equation, application.carried
    inner = Inner(body, carried, [True] * len(carried))
    outputs = tuple(inner.output_is_series)

    def start(*operands: Any) -> Sequence[Any]:
        _, histories, held = inner.start(operands)
        return [*equation.bind(*operands), *histories, *held]

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Any]:
        ins, held = _parts(operands, (len(carried), len(inner.held)))
        results, after = inner.step(n, ins, [one.body for one in series], held)
        return [*_chosen(results, outputs), *after]

    needs = tuple(inner.needs)
    return Rule(start, step, held=len(inner.held), outputs=outputs, needs=needs, own=False)


def _switch(index: Any, branch: Callable[[int], list[Any]], count: int) -> list[Any]:
    return lax.switch(index, [lambda number=number: branch(number) for number in range(count)])


def scan(application: Application) -> Rule:
    """At each order a scan over the turns, which has the memory of each turn as a row."""
    params, carried, avals = application.equation.params, application.carried, application.avals
    constants, carries = scan_counts(params)
    turns = len(carried) - constants - carries

    def lift(flags: Sequence[bool]) -> Inner:
        series = [*carried[:constants], *flags, *carried[constants + carries :]]
        given = [True] * constants + [False] * carries + [True] * turns
        return Inner(params["jaxpr"], series, given)

    inner, carry_is_series = _settled(lift, carried[constants : constants + carries])
    outputs = (*carry_is_series, *inner.output_is_series[carries:])
    options = {name: params[name] for name in ("length", "reverse", "unroll")}

    def start(*operands: Any) -> Sequence[Any]:
        fixed, first, rows = _parts(operands, (constants, carries, turns))

        def turn(carry: list[Any], row: list[Any]) -> Any:
            results, histories, held = inner.start([*fixed, *carry, *row])
            return results[:carries], (results[carries:], histories, held)

        last, (stacked, histories, held) = lax.scan(turn, first, rows, **options)
        return [*last, *stacked, *histories, *held]

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Any]:
        fixed, first, rows, held = _parts(
            operands, (constants, carries, turns, len(operands) - len(carried))
        )
        types = avals[constants : constants + carries]
        now = _chosen(list(map(coefficient, first, types)), carry_is_series)
        histories = [_by_turn(one.body) for one in series]

        def turn(carry: list[Array], row: Any) -> Any:
            entries, bodies, values = row
            known = iter(carry)
            ins = [Series([], next(known)) if flag else None for flag in carry_is_series]
            given = [Series(*one) if isinstance(one, tuple) else one for one in entries]
            results, after = inner.step(n, [*fixed, *ins, *given], bodies, values)
            stacked = _chosen(results[carries:], outputs[carries:])
            return _chosen(results[:carries], carry_is_series), (stacked, after)

        entries = [
            (_by_turn(one.body), one.current) if isinstance(one, Series) else one for one in rows
        ]
        last, (stacked, after) = lax.scan(turn, now, (entries, histories, held), **options)
        return [*last, *stacked, *after]

    needs = inner.needs
    for index, flag in enumerate(carried[constants : constants + carries], constants):
        needs[index] = Need.CURRENT if flag else Need.NOTHING
    return Rule(start, step, held=len(inner.held), outputs=outputs, needs=tuple(needs), own=False)


def _by_turn(body: Body) -> Body:
    """A history of stacked values with the axis of the stack first."""
    return body if isinstance(body, list) else jnp.moveaxis(body, 1, 0)


def _settled(
    lift: Callable[[Sequence[bool]], Inner], carried: Sequence[bool]
) -> tuple[Inner, tuple[bool, ...]]:
    """A loop's body, lifted, and which of its carry are series, at the start or after a turn."""
    flags = tuple(carried)
    while True:
        inner = lift(flags)
        after = tuple(map(max, flags, inner.output_is_series))
        if after == flags:
            return inner, flags
        flags = after


def while_loop(application: Application) -> Rule:
    """A loop with as many turns as its predicate gives at order 0.

    Their number is not known when the program is traced, so nothing is kept of them: order n runs
    the whole loop again on truncated series. N orders cost O(N^3), where a scan costs O(N^2).
    """
    equation, carried = application.equation, application.carried
    params = equation.params
    steers = params["cond_nconsts"]
    before = steers + params["body_nconsts"]

    def lift(flags: Sequence[bool]) -> Inner:
        series = [*carried[steers:before], *flags]
        return Inner(params["body_jaxpr"], series, given=[True] * len(series))

    inner, flags = _settled(lift, carried[before:])
    predicate = jaxpr_as_fun(params["cond_jaxpr"])

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        like = next(one.body for one in operands if isinstance(one, Series))
        length = n + 1 if isinstance(n, int) else len(like)
        bodies = [one.body[:length] if isinstance(one, Series) else one for one in operands]
        steering = list(map(_first, bodies[:steers], carried[:steers]))
        fixed, first = bodies[steers:before], bodies[before:]
        first = [
            _extended(one, like, length) if flag and not was else one
            for one, flag, was in zip(first, flags, carried[before:], strict=True)
        ]

        def condition(carry: list[Any]) -> Array:
            return predicate(*steering, *map(_first, carry, flags))[0]

        def turn(carry: list[Any]) -> list[Any]:
            after = inner.series([*fixed, *carry], length)
            return _where(condition(carry), after, carry, flags)

        last = lax.while_loop(lambda carry: jnp.any(condition(carry)), turn, first)
        return [_at(one, n) for one in _chosen(last, flags)]

    needs = tuple(Need.HISTORY if flag else Need.CURRENT for flag in carried)
    return Rule(equation.bind, step, outputs=flags, needs=needs, own=False, extra=False)


def _first(body: Any, is_series: bool) -> Any:
    return body[0] if is_series else body


def _where(goes_on: Array, new: list[Any], old: list[Any], flags: Sequence[bool]) -> list[Any]:
    """The carry after a turn; in a batch, entries whose predicate is false keep the old one."""
    if not goes_on.shape:
        return new

    def choose(after: Array, before: Array, orders: int) -> Array:
        shape = (1,) * orders + goes_on.shape
        shape += (1,) * (after.ndim - len(shape))
        return jnp.where(goes_on.reshape(shape), after, before)

    return [
        [choose(*pair, 0) for pair in zip(after, before, strict=True)]
        if isinstance(after, list)
        else choose(after, before, int(is_series))
        for after, before, is_series in zip(new, old, flags, strict=True)
    ]


def _at(body: Body, n: Order) -> Array:
    if isinstance(body, list):
        return body[n]
    return lax.dynamic_index_in_dim(body, n, axis=0, keepdims=False)


def _extended(value: Any, like: Body, length: int) -> Body:
    """A constant as a series, in the form of another."""
    orders = [jnp.asarray(value), *[jnp.zeros_like(value)] * (length - 1)]
    return orders if isinstance(like, list) else jnp.stack(orders)


def _parts(values: Sequence[Any], counts: Any) -> list[list[Any]]:
    """Consecutive parts of a sequence, of given lengths."""
    rest = iter(values)
    return [[next(rest) for _ in range(count)] for count in counts]


def _chosen(values: Sequence[Any], flags: Sequence[bool]) -> list[Any]:
    return [value for value, flag in zip(values, flags, strict=True) if flag]
