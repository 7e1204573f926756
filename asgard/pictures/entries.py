"""Entries of arrays as pictures show them: `x[0]`, `x[1:3]`, `x[:, 0]`."""

import dataclasses

from ..jaxprs.program import Equation
from ..language.equations import tree

# Along an axis: one index; a start, a stop (None for the end) and a step; None for all of it.
_Index = int | tuple[int, int | None, int] | None


@dataclasses.dataclass(frozen=True)
class Entries:
    """Some entries of an array, with one index for each of its axes."""

    array: tree.Expression
    indices: tuple[_Index, ...]

    @property
    def expression(self) -> tree.Expression:
        """What is shown: the array itself where these are all of its entries."""
        shown = [_text(index) for index in self.indices]
        while shown and shown[-1] == ":":
            shown.pop()
        if not shown:
            return self.array
        text = tree.expression_text(self.array)
        simple = isinstance(self.array, tree.Name | tree.Call)
        return tree.Name(f"{text if simple else f'({text})'}[{', '.join(shown)}]")


def entries_of(
    equation: Equation, array: tree.Expression, known: Entries | None, shape: tuple[int, ...]
) -> Entries | None:
    """What a slice takes of an array of this shape, or a squeeze of `known` entries; None of
    others."""
    params = equation.params
    if equation.name == "slice":
        steps = params["strides"] or (1,) * len(shape)
        bounds = zip(params["start_indices"], params["limit_indices"], steps, shape, strict=True)
        return Entries(array, tuple(_index(*one) for one in bounds))
    if equation.name == "squeeze" and known is not None:
        # An axis of the array that the squeeze sees is one that no index has taken away.
        axes = [axis for axis, index in enumerate(known.indices) if not isinstance(index, int)]
        gone = {axes[axis] for axis in params["dimensions"]}
        taken = (
            _first(index) if axis in gone else index for axis, index in enumerate(known.indices)
        )
        return Entries(known.array, tuple(taken))
    return None


def _index(start: int, stop: int, step: int, size: int) -> _Index:
    if (start, stop, step) == (0, size, 1):
        return None
    return start, None if stop == size else stop, step


def _first(index: _Index) -> int:
    """The only index of an axis of length 1."""
    return index[0] if isinstance(index, tuple) else index or 0


def _text(index: _Index) -> str:
    if index is None:
        return ":"
    if isinstance(index, int):
        return str(index)
    start, stop, step = index
    end = "" if stop is None else stop
    return f"{start or ''}:{end}" + (f":{step}" if step != 1 else "")
