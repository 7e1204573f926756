"""The wires of a result, by name, and the curves that they are."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import numpy as np

from ...calculi.trajectory import Outputs
from ...errors import CircuitError
from .axes import in_legend, looks, one_of


class Wire(eqx.Module):
    """A wire, or an entry of one: its name, and how to read it off what a run gave."""

    name: str
    read: Callable[[Outputs], np.ndarray]


class Curve(eqx.Module):
    """Real numbers along an axis: their label, the wire's part, and how to read them off a wire."""

    label: str
    imaginary: bool
    read: Callable[[np.ndarray], np.ndarray]


def wires_of(what: str, result: Outputs, names: tuple[str, ...], lead: int = 1) -> list[Wire]:
    """The wires of some names, by default all outputs, or all named
    wires where there are none; `lead` axes come before those of the value.

    A name is one of `names` or an output's label; with an index, as `x[0]`, an entry of it.
    """
    outputs = {label: _output(i) for i, label in enumerate(output_labels(result))}
    found = outputs | {name: _named(name) for name in result.names}
    if not names:
        return [Wire(name, read) for name, read in (outputs or found).items()]
    return [_wire(what, result, name, found, lead) for name in names]


def output_labels(result: Outputs) -> list[str]:
    """A label for each output: the named wire of the same values, else its position."""
    count, named, labels = len(result.outputs), dict(result.names), []
    for index, output in enumerate(result.outputs):
        own = f"output {index}" if count > 1 else "output"
        label = next((name for name, value in named.items() if _same(value, output)), own)
        named.pop(label, None)
        labels.append(label)
    return labels


def curves(wire: str, value_shape: tuple[int, ...], complex_: bool) -> Iterator[Curve]:
    """The curves of a wire: one for each entry, and two where numbers are complex."""
    for index in np.ndindex(value_shape):
        name = f"{wire}[{','.join(map(str, index))}]" if index else wire
        at = (..., *index)
        if not complex_:
            yield Curve(name, False, lambda values, at=at: values[at])
            continue
        yield Curve(f"Re {name}", False, lambda values, at=at: np.real(values[at]))
        yield Curve(f"Im {name}", True, lambda values, at=at: np.imag(values[at]))


def styled(every: list[Curve], ax: Any) -> Iterator[tuple[dict[str, Any], bool]]:
    """The colour and the line style of each curve, and whether the legend has it.

    Both parts of a complex number have one colour.
    """
    count = sum(not curve.imaginary for curve in every)
    labels, look, spot = in_legend(count), looks(count, ax), -1
    for curve in every:
        spot += not curve.imaginary
        color, styles = look[spot]
        yield {"color": color, "linestyle": styles[curve.imaginary]}, spot in labels


def _output(index: int) -> Callable[[Outputs], np.ndarray]:
    return lambda result: np.asarray(result.outputs[index])


def _named(name: str) -> Callable[[Outputs], np.ndarray]:
    return lambda result: np.asarray(result.names[name])


def _same(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)


def _wire(
    what: str,
    result: Outputs,
    name: Any,
    found: dict[str, Callable[[Outputs], np.ndarray]],
    lead: int,
) -> Wire:
    """The wire of a name, or the entry of one."""
    if name in found:
        return Wire(name, found[name])
    match = re.fullmatch(r"(.+)\[(\d+(?:,\s*\d+)*)\]", name) if isinstance(name, str) else None
    if match is None or match[1] not in found:
        raise one_of(what, name, list(found))
    read, index = found[match[1]], tuple(map(int, match[2].split(",")))
    shape = read(result).shape[lead:]
    if len(index) > len(shape) or any(i >= n for i, n in zip(index, shape, strict=False)):
        raise CircuitError(f"{what}: {match[1]} carries an array {list(shape)}, without {name}")
    at = (*(slice(None),) * lead, *index)
    return Wire(name, lambda result: read(result)[at])
