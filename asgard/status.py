"""How a run ended, as data."""

from typing import Any, cast

import equinox as eqx


class Status(eqx.Enumeration):
    """How a run ended. Compares with `==` under tracing; each lane of a `vmap` has its own."""

    ok = ""
    max_steps = (
        "the steps ran out before the last time; raise max_steps, loosen rtol, or shorten the "
        "run: the system may be stiff, slide along a jump, or have a singularity ahead"
    )
    nonfinite = (
        "a value is not finite: the solution may become infinite here; else check the initial "
        "values, parameters and inputs, and functions at the edge of their domain (log, sqrt or a "
        "power at 0, division by 0)"
    )
    step_size = (
        "no step that time's resolution can hold satisfies the equation: there is a singularity or "
        "a jump here; declare jumps in time as breakpoints, or end the run before it (or rtol is "
        "past what the dtype can meet)"
    )


def message(name: str) -> str:
    """What a status says, by its name."""
    return cast(Any, Status)[getattr(Status, name)]
