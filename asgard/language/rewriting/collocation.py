"""Circuits run on the points of Chebyshev, with nothing compiled: to check rules.

A wire is its values at some times. A register is a matrix that integrates, a deregister one that
differentiates, all else acts on each value. Loops are iterated until nothing changes. Between the
points is the polynomial through them, so for short times this is the series of a run.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...circuits.atoms.registers import Deregister, Register, State
from ...circuits.circuit import Circuit
from ...circuits.graph import Node, flatten
from ...circuits.terms import brief
from ...errors import CircuitError

_POINTS = 12
_END = 0.25
_TURNS = 60
_DIGITS = 1e-13


def _matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points in time, and the matrices that integrate from 0 and differentiate."""
    nodes = np.cos(np.pi * (np.arange(_POINTS) + 0.5) / _POINTS)[::-1]
    times = _END * (nodes + 1) / 2
    basis = np.polynomial.chebyshev.chebvander(nodes, _POINTS - 1)
    inverse = np.linalg.inv(basis)
    integrated, derived = [], []
    for order in range(_POINTS):
        one = np.polynomial.Chebyshev.basis(order, domain=[0.0, _END])
        integrated.append(one.integ(lbnd=0.0)(times))
        derived.append(one.deriv()(times))
    return times, np.stack(integrated, 1) @ inverse, np.stack(derived, 1) @ inverse


TIMES, _INTEGRAL, _DERIVATIVE = _matrices()


def outputs(circuit: Circuit, inputs: Sequence[Any]) -> np.ndarray | None:
    """The values of a circuit's outputs at `TIMES`, of shape `[n_out, points]`.

    None where a loop is not solved by iteration, or a value is not finite.

    **Arguments:** `circuit` along one dimension, whose atoms take numbers; `inputs`: the values of
    each input wire at `TIMES`.
    """
    graph = flatten(circuit)
    nodes = graph.needed(graph.outputs)
    values = {wire: np.asarray(given) for wire, given in zip(graph.inputs, inputs, strict=True)}
    values.update({wire: np.zeros(_POINTS) for node in nodes for wire in node.outs})
    with np.errstate(all="ignore"):
        for _ in range(_TURNS):
            before = {wire: values[wire] for node in nodes for wire in node.outs}
            for node in nodes:
                values.update(zip(node.outs, _evaluated(node, values), strict=True))
            change = [_change(before[wire], values[wire]) for wire in before]
            if not all(np.isfinite(change)):
                return None
            if max(change, default=0.0) <= _DIGITS:
                found = [values[wire] for wire in graph.outputs]
                return np.stack(found) if found else np.zeros((0, _POINTS))
    return None


def _change(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.max(np.abs(after - before) / (1 + np.abs(after))))


def _evaluated(node: Node, values: dict[int, np.ndarray]) -> list[np.ndarray]:
    """The values that a node drives, from those that it reads."""
    atom, read = node.atom, [values[wire] for wire in node.ins]
    if isinstance(atom, Register):
        return [np.asarray(atom.initial) + _INTEGRAL @ read[0]]
    if isinstance(atom, Deregister):
        return [_DERIVATIVE @ read[0]]
    if isinstance(atom, State):
        raise CircuitError(f"{brief(atom)} has no values at points", atoms=[atom])
    coordinates = [jnp.asarray(TIMES)] * len(atom.coordinates)
    found = atom(*coordinates, *map(jnp.asarray, read))
    several = found if isinstance(found, tuple) else (found,)
    return [np.broadcast_to(np.asarray(one), (_POINTS,)) for one in several]
