"""What the command line prints: tables, components and JSON."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..circuits.components import components, edges
from ..circuits.graph import Graph, Node
from ..circuits.loops import Loop, loops
from ..circuits.stream import largest_factorial_order


def derivatives(coefficients: np.ndarray) -> np.ndarray:
    """n! times the coefficients, as objects. None for those past the range of float64."""
    found = np.empty(coefficients.shape, object)
    limit = largest_factorial_order(np.float64)
    for index, coefficient in np.ndenumerate(coefficients):
        if max(index, default=0) <= limit:
            factor = math.prod(float(math.factorial(order)) for order in index)
            derivative = coefficient.item() * factor
            if np.isfinite(derivative) or not np.isfinite(coefficient):
                found[index] = derivative
    return found


def series_table(coefficients: np.ndarray, dims: tuple[str, ...]) -> str:
    """A table with a row for each multi-index. With several dimensions, zero rows are left out."""
    rows = [(*(f"order {dim}" for dim in dims), "coefficient", "derivative")]
    for (index, coefficient), derivative in zip(
        np.ndenumerate(coefficients), derivatives(coefficients).flat, strict=True
    ):
        if len(dims) < 2 or coefficient != 0:
            rows.append((*map(str, index), _digits(coefficient), _digits(derivative)))
    if len(rows) == 1:
        return "every coefficient is 0"
    columns = list(zip(*rows, strict=True))
    aligned = [_right(column) for column in columns[: len(dims)]]
    aligned += [_left(column) for column in columns[len(dims) :]]
    return "\n".join("  ".join(row).rstrip() for row in zip(*aligned, strict=True))


def table(columns: Sequence[Sequence[str]]) -> str:
    """Columns of cells, of which the first is aligned right and the others left."""
    first, *others = columns
    aligned = [_right(first), *map(_left, others)]
    return "\n".join("  ".join(row).rstrip() for row in zip(*aligned, strict=True))


def _right(column: Sequence[str]) -> list[str]:
    width = max(map(len, column))
    return [cell.rjust(width) for cell in column]


def _left(column: Sequence[str]) -> list[str]:
    """Cells aligned left, indented by one if some have a minus sign."""
    if any(cell.startswith("-") for cell in column):
        column = [cell if cell.startswith("-") else " " + cell for cell in column]
    width = max(map(len, column))
    return [cell.ljust(width) for cell in column]


def _digits(value: Any) -> str:
    return "out of range" if value is None else f"{value:.12g}"


def graph_components(graph: Graph) -> Iterator[dict[str, Any]]:
    """The components in the order they run. Adjacent straight nodes are one component."""
    remaining = iter(loops(graph, graph.dims))
    ordered = components(edges(graph.nodes))
    for cyclic, group in itertools.groupby(ordered, key=lambda component: component.cyclic):
        if cyclic:
            yield from (_loop(next(remaining)) for _ in group)
        else:
            nodes = [graph.nodes[component.indices[0]] for component in group]
            yield {"kind": "straight", "nodes": _names(nodes)}


def _loop(loop: Loop) -> dict[str, Any]:
    if loop.dim is None:
        return {"kind": "algebraic", "nodes": _names(loop.nodes)}
    inner = [_loop(inside) for inside in loop.inner]
    return {"kind": "guarded", "nodes": _names(loop.nodes), "dim": loop.dim, "inner": inner}


def _names(nodes: Sequence[Node]) -> list[str]:
    return [str(node.atom) for node in nodes]


def listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def to_json(report: Mapping[str, Any]) -> str:
    return json.dumps(_plain(report), allow_nan=False)


def _plain(value: Any) -> Any:
    """A value as types that JSON has. Recursion is as deep as dimensions and loops nest."""
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, complex):
        return {"real": _plain(value.real), "imag": _plain(value.imag)}
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
