"""Rules of primitives that pick entries of their operands, by the values at order 0."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ..registry import Rewrite, no_rule
from ..rule import Application, Need, Rule, coefficient
from ..series import Order, Series


def sort(application: Application) -> Rule:
    """Sorts every operand by the keys at order 0."""
    params, avals = application.equation.params, application.avals
    axis = params["dimension"]

    def start(*operands: Any) -> Sequence[Any]:
        indices = lax.broadcasted_iota(jnp.int32, avals[0].shape, axis)
        return lax.sort(
            [*operands, indices], axis, is_stable=params["is_stable"], num_keys=params["num_keys"]
        )

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        *values, indices = operands
        return [
            jnp.take_along_axis(value.current, indices, axis)
            for value in values
            if isinstance(value, Series)
        ]

    needs = tuple(Need.CURRENT if flag else Need.NOTHING for flag in application.carried)
    return Rule(start, step, held=1, outputs=application.carried, needs=needs, own=False)


def top_k(application: Application) -> Rule:
    """The largest entries along an axis."""
    equation = application.equation
    axis = equation.params.get("axis", -1)

    def start(operand: Any) -> Sequence[Any]:
        values, indices = equation.bind(operand)
        return [values, indices, indices]

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        operand, indices = operands
        return [jnp.take_along_axis(operand.current, indices, axis)]

    return Rule(start, step, held=1, outputs=(True, False), needs=(Need.CURRENT,), own=False)


def extreme(find: Callable[..., Any]) -> Callable[[Application], Rule]:
    """The largest or smallest entries over some axes: those at the index that `find` (argmax or
    argmin) gives at order 0."""

    def make(application: Application) -> Rule:
        equation = application.equation
        axes = equation.params["axes"]

        def in_rows(u: Any) -> Any:
            kept = [axis for axis in range(u.ndim) if axis not in axes]
            u = jnp.transpose(u, (*kept, *axes))
            return u.reshape((*u.shape[: len(kept)], -1))

        def start(operand: Any) -> Sequence[Any]:
            # At order 0 alone nothing reads the index, and the slower search is dropped.
            return [*equation.bind(operand), find(in_rows(operand), axis=-1, keepdims=True)]

        def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
            operand, index = operands
            rows = in_rows(operand.current)
            return [jnp.take_along_axis(rows, index, axis=-1, mode="clip")[..., 0]]

        return Rule(start, step, held=1, needs=(Need.CURRENT,), own=False)

    return make


def next_after(application: Application) -> Rule:
    """The next float: from order 1 on, its series is that of the float."""

    def step(n: Order, operands: list[Any], series: list[Series]) -> Sequence[Any]:
        return [coefficient(operands[0], application.avals[0])]

    needs = (Need.CURRENT if application.carried[0] else Need.NOTHING, Need.NOTHING)
    return Rule(application.equation.bind, step, needs=needs, own=False, extra=False)


def scattered(operation: Callable[[Any, Any], Any]) -> Callable[[Application], Rewrite]:
    """Scattering by an operation: on the entries that the updates, laid out, reach.

    There is no rule where two updates may reach one entry.
    """

    def make(application: Application) -> Rewrite:
        params, indices = application.equation.params, application.avals[1]
        if math.prod(indices.shape[:-1]) > 1 and not params["unique_indices"]:
            raise no_rule(application)
        names = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
        options = {name: params[name] for name in names}

        def run(operand: Any, indices: Any, updates: Any) -> Any:
            zeros, reached = jnp.zeros_like(operand), jnp.zeros(operand.shape, bool)
            laid_out = lax.scatter(zeros, indices, updates, **options)
            reached = lax.scatter(reached, indices, jnp.ones(updates.shape, bool), **options)
            return jnp.where(reached, operation(operand, laid_out), operand)

        return Rewrite(run)

    return make
