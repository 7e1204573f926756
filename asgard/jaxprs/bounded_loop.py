"""The bounded loop of derivatives in any mode: all that is taken of `equinox.internal`."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox.internal as eqxi

Carry = TypeVar("Carry")


def bounded_while(
    condition: Callable[[Carry], Any],
    body: Callable[[Carry], Carry],
    start: Carry,
    *,
    max_steps: int,
    buffers: Callable[[Carry], Any],
) -> Carry:
    """`lax.while_loop` with at most `max_steps` turns, with forward, reverse and mixed derivatives.

    `buffers` selects arrays of the carry that the body only reads by index and writes by
    `.at[...].set(...)`, which keeps reverse mode from copying them at every turn. A place whose
    value is read after the loop must be written once, or its gradient is wrong.
    """
    return eqxi.while_loop(
        condition, body, start, max_steps=max_steps, buffers=buffers, kind="bounded"
    )
