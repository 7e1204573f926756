"""The circuit of a system of equations."""

from typing import Any

import equinox as eqx

from ...circuits.circuit import Block, Circuit
from . import tree
from .plan import Plan


class Equations(Block):
    """The circuit that equations say. Its numbers are their parameters and initial values.

    `str(block.system)` is the text of the equations.
    """

    by_name = ("numbers",)
    numbers: dict[str, Any]
    initial: dict[str, Any]
    plan: Plan = eqx.field(static=True, repr=False)
    system: tree.System = eqx.field(static=True, repr=False)
    input_names: tuple[str, ...] = eqx.field(static=True, repr=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    def circuit(self) -> Circuit:
        return self.plan.circuit(self.numbers, self.initial)

    @property
    def n_in(self) -> int:
        return len(self.plan.inputs)

    @property
    def n_out(self) -> int:
        return len(self.plan.outputs)
