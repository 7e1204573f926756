"""A while loop with derivatives in every mode: all that asgard takes from `equinox.internal`."""

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
    once: bool = False,
) -> Carry:
    """`lax.while_loop` of at most `max_steps` turns, with forward, reverse and mixed derivatives.

    With `once` it has one derivative, in reverse mode, which compiles sooner.

    `buffers` selects arrays of the carry that the body reads by index and writes by
    `.at[...].set(...)` only. Reverse mode does not copy them at every turn. An entry that is read
    after the loop must be written once only, or its gradient is wrong.
    """
    kind = "checkpointed" if once else "bounded"
    return eqxi.while_loop(condition, body, start, max_steps=max_steps, buffers=buffers, kind=kind)
