"""A program inside an equation, such as a loop's body, lifted for the rule of that equation."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr
from jaxtyping import Array

from ...jaxprs.program import from_jaxpr
from ..lifting import Lifted, Memory
from ..net import resize
from ..rule import Need
from ..series import Body, Order, Series


class Inner:
    """A jaxpr that an equation holds, lifted.

    **Arguments:**

    - `series`: for each of its inputs, whether it is a series.
    - `given`: for each, whether every step gets it again: its whole series, or its value where it
      is constant. The memory keeps the histories and values of the others.
    """

    def __init__(self, closed: ClosedJaxpr, series: Sequence[bool], given: Sequence[bool]):
        self.lifted = Lifted(from_jaxpr(closed), series, given)
        self.memory = self.lifted.memory
        self.names = self.lifted.inputs
        self.held = [name for name in self.memory.held if name not in self.lifted.given]
        self.output_is_series: list[bool] = self.lifted.output_is_series

    @property
    def needs(self) -> list[Need]:
        """What a step needs of each input."""
        return [self._need(name) for name in self.names]

    def _need(self, name: int) -> Need:
        lifted = self.lifted
        if name in lifted.series:
            return Need.HISTORY if name in self.memory.recalled & lifted.given else Need.CURRENT
        return Need.CURRENT if name in lifted.given.intersection(self.memory.held) else Need.NOTHING

    def start(self, operands: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """Order 0: the outputs, the first of each history, and the values held."""
        results, memory = self.lifted.start(operands)
        histories = [memory.histories[name][0] for name in self.memory.histories]
        return results, histories, [memory.held[name] for name in self.held]

    def step(
        self, n: Order, operands: Sequence[Any], histories: Sequence[Body], held: Sequence[Any]
    ) -> tuple[list[Any], list[Any]]:
        """Coefficient n of the outputs and of the histories. The operands are as in a rule."""
        lifted = self.lifted
        whole = self.memory.recalled & lifted.given
        pairs = list(enumerate(zip(self.names, operands, strict=True)))
        constants = {name: one for _, (name, one) in pairs if name in lifted.given}
        values = {name: constants[name] for name in self.memory.held if name in constants}
        memory = Memory(
            {**values, **dict(zip(self.held, held, strict=True))},
            dict(zip(self.memory.histories, histories, strict=True)),
        )
        now = [one.current if isinstance(one, Series) else None for one in operands]
        given = {index: one.body for index, (name, one) in pairs if name in whole}
        results, after = lifted.coefficients(n, memory, now, given)
        return results, [after[name] for name in self.memory.histories]

    def series(self, operands: Sequence[Any], length: int) -> list[Any]:
        """All coefficients of the outputs that are series, order 0 alone of the others.

        `operands` are bodies of `length` orders, of one form, and arrays for the constants.
        """
        first = [
            body[0] if name in self.lifted.series else body
            for name, body in zip(self.names, operands, strict=True)
        ]
        results, histories, held = self.start(first)

        def step(m: Order, rows: Sequence[Any], histories: Sequence[Body]) -> Any:
            known = [
                one if row is None else Series(one, row)
                for one, row in zip(operands, rows, strict=True)
            ]
            return self.step(m, known, histories, held)

        if any(isinstance(one, list) for one in operands):
            bodies = self._unrolled(step, operands, results, histories, length)
        else:
            bodies = self._scanned(step, operands, results, histories, length)
        flags = self.output_is_series
        return [b if flag else b[0] for b, flag in zip(bodies, flags, strict=True)]

    def _unrolled(self, step: Any, operands: Any, results: Any, first: Any, length: int) -> Any:
        bodies, histories = [[one] for one in results], [[one] for one in first]
        for m in range(1, length):
            rows = [one[m] if isinstance(one, list) else None for one in operands]
            coefficients, after = step(m, rows, histories)
            bodies = [[*b, c] for b, c in zip(bodies, coefficients, strict=True)]
            histories = [[*h, c] for h, c in zip(histories, after, strict=True)]
        return bodies

    def _scanned(self, step: Any, operands: Any, results: Any, first: Any, length: int) -> Any:
        def body(histories: list[Array], xs: Any) -> Any:
            m, rows = xs
            coefficients, after = step(m, rows, histories)
            series = [
                Series(body).append(m, c).body for body, c in zip(histories, after, strict=True)
            ]
            return series, coefficients

        rows = [
            body[1:] if name in self.lifted.series else None
            for name, body in zip(self.names, operands, strict=True)
        ]
        orders = jnp.arange(1, length, dtype=jnp.int32)
        buffers = [resize(one[None], length) for one in first]
        _, tails = lax.scan(body, buffers, (orders, rows))
        return [
            jnp.concatenate([one[None], tail]) for one, tail in zip(results, tails, strict=True)
        ]
