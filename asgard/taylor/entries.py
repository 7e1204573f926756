"""Values that are entries of other values, along the first axis."""

import dataclasses
from collections.abc import Mapping

import jax

from ..jaxprs.program import Equation


@dataclasses.dataclass(frozen=True)
class Entry:
    """Entry `index` of the value with the number `source`."""

    source: int
    index: int


class Entries:
    """The entries that a program's equations take out of values, as `x, y = u` and `u[0]` do."""

    def __init__(self, avals: Mapping[int, jax.ShapeDtypeStruct]):
        self.avals = avals
        self.found: dict[int, Entry] = {}
        self._slices: dict[int, Entry] = {}

    def see(self, equation: Equation) -> bool:
        """Notes the entries that an equation takes out. Returns whether it does nothing else."""
        params, source = equation.params, equation.ins[0] if equation.ins else -1
        if equation.name == "unstack" and params["axis"] == 0:
            for index, out in enumerate(equation.outs):
                self.found[out] = Entry(source, index)
        elif equation.name == "slice" and self._takes_one(equation):
            self._slices[equation.outs[0]] = Entry(source, params["start_indices"][0])
        elif equation.name == "squeeze" and source in self._slices:
            if tuple(params["dimensions"]) != (0,):
                return False
            self.found[equation.outs[0]] = self._slices[source]
        else:
            return False
        return True

    def _takes_one(self, equation: Equation) -> bool:
        """Whether a slice is of one entry along the first axis and all along the others."""
        params, shape = equation.params, self.avals[equation.ins[0]].shape
        start, limit = params["start_indices"], params["limit_indices"]
        strides = params["strides"] or (1,) * len(shape)
        whole = not any(start[1:]) and limit[1:] == shape[1:] and set(strides[1:]) <= {1}
        return bool(shape) and limit[0] - start[0] == 1 and whole
