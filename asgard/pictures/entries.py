"""Entries of arrays as pictures show them: `x[0]`, `x[1:3]`, `x[:, 0]`."""

import dataclasses

from ..jaxprs.program import Equation
from ..language.equations import tree

# Along an axis: one index; a start, a stop (None for the end) and a step; None for all of it.
_Index = int | tuple[int, int | None, int] | None


@dataclasses.dataclass(frozen=True)
class Entries(tree.Name):
    """Some entries of an array, whose expression is `array`. `name` is their text.

    `indices` has one index for each axis of the array.
    """

    array: tree.Expression = dataclasses.field(kw_only=True)
    indices: tuple[_Index, ...] = dataclasses.field(kw_only=True)


def entries_of(
    equation: Equation, array: tree.Expression, shape: tuple[int, ...]
) -> tree.Expression | None:
    """What a slice takes of an array of this shape, or a squeeze of a slice; None of others."""
    params = equation.params
    if equation.name == "slice":
        steps = params["strides"] or (1,) * len(shape)
        bounds = zip(params["start_indices"], params["limit_indices"], steps, shape, strict=True)
        return _entries(array, tuple(_index(*one) for one in bounds))
    if equation.name == "squeeze" and isinstance(array, Entries):
        # An axis of the array that the squeeze sees is one that no index has taken away.
        axes = [axis for axis, index in enumerate(array.indices) if not isinstance(index, int)]
        gone = {axes[axis] for axis in params["dimensions"]}
        taken = (
            _first(index) if axis in gone else index for axis, index in enumerate(array.indices)
        )
        return _entries(array.array, tuple(taken))
    return None


def _index(start: int, stop: int, step: int, size: int) -> _Index:
    if (start, stop, step) == (0, size, 1):
        return None
    return start, None if stop == size else stop, step


def _first(index: _Index) -> int:
    """The only index of an axis of length 1."""
    return index[0] if isinstance(index, tuple) else index or 0


def _entries(array: tree.Expression, indices: tuple[_Index, ...]) -> tree.Expression:
    shown = [_text(index) for index in indices]
    while shown and shown[-1] == ":":
        shown.pop()
    if not shown:
        return array
    text = tree.expression_text(array)
    simple = isinstance(array, tree.Name | tree.Call)
    text = text if simple else f"({text})"
    return Entries(f"{text}[{', '.join(shown)}]", array=array, indices=indices)


def _text(index: _Index) -> str:
    if index is None:
        return ":"
    if isinstance(index, int):
        return str(index)
    start, stop, step = index
    end = "" if stop is None else stop
    return f"{start or ''}:{end}" + (f":{step}" if step != 1 else "")
