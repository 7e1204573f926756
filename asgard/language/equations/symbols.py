"""The numbers of a circuit's atoms as expressions of the parameters of its blocks."""

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ...circuits.circuit import Block, Circuit
from ...circuits.constraints import resolved
from ...circuits.graph import Graph, flatten
from ...circuits.parameters import parameters
from ...circuits.stream import Stream
from ...errors import CircuitError
from ...jaxprs.program import Equation, Program, trace
from . import tree
from .formulas import Formula, Symbol, number_of, written


def symbolic(
    circuit: Circuit, graph: Graph, taken: Collection[str]
) -> tuple[Graph, Collection[str]]:
    """The graph of a circuit with a `Symbol` for each number that depends on parameters of blocks,
    and the names of these.

    Numbers stay where no text says how they depend on these: arrays, and what is computed by code
    that is no formula. A parameter whose name is `taken`, by a wire for instance, is a number too.
    """
    leaves, structure = jax.tree.flatten(circuit)
    names = _names(circuit, taken)
    if not any(names):
        return graph, ()

    def numbers(*leaves: Any) -> list[Any]:
        inner = flatten(jax.tree.unflatten(structure, leaves))
        return [number for node in inner.nodes for number in jax.tree.leaves(node.atom)]

    program = trace(numbers, *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves))
    given = {
        value: Formula(tree.Name(name))
        for value, name in zip(program.inputs, names, strict=True)
        if name and _is_real(program, value)
    }
    found = iter(_expressions(program, given))
    nodes = [dataclasses.replace(n, atom=_with_symbols(n.atom, found)) for n in graph.nodes]
    known = {name for name in names if name}
    return dataclasses.replace(graph, nodes=tuple(nodes)), known


def _names(circuit: Circuit, taken: Collection[str]) -> list[str | None]:
    """What each leaf of a circuit is called in equations, where a block has it as a parameter."""
    leaves = [isinstance(part, Block) for part in circuit.parts for _ in jax.tree.leaves(part)]
    names = [re.sub(r"\W+", "_", name).strip("_") for name in parameters(circuit)]
    counts = Counter(names)
    return [
        name if of_block and counts[name] == 1 and name not in taken else None
        for of_block, name in zip(leaves, names, strict=True)
    ]


def _expressions(program: Program, given: Mapping[int, Formula]) -> list[tree.Expression | None]:
    """What the outputs of a program are, of those that depend on what is given."""
    known = dict(given)
    for equation in program.equations:
        if not any(value in known for value in equation.ins):
            continue
        values = (*equation.ins, *equation.outs)
        if len(equation.outs) == 1 and all(_is_real(program, value) for value in values):
            made = _made(equation, program, known)
            if made is not None:
                known[equation.outs[0]] = made
    found = [known.get(value) for value in program.outputs]
    return [None if one is None else one.expression for one in found]


def _made(equation: Equation, program: Program, known: Mapping[int, Formula]) -> Formula | None:
    """What an equation makes; None where no text says it, or where an operand has none."""
    try:
        parts = [
            known[value] if value in known else Formula(number_of("", program.constants[value]))
            for value in equation.ins
        ]
        return written("", equation, parts, [program.avals[value] for value in equation.ins])
    except (CircuitError, KeyError):
        return None


def _is_real(program: Program, value: int) -> bool:
    aval = program.avals[value]
    return not aval.shape and not jnp.issubdtype(aval.dtype, jnp.complexfloating)


def _with_symbols(atom: Any, found: Iterator[tree.Expression | None]) -> Any:
    """An atom with symbols for its numbers. A stream stays: it is a polynomial of its own."""

    def shown(item: Any) -> Any:
        expressions = [next(found) for _ in jax.tree.leaves(item)]
        if isinstance(item, Stream) or expressions[0] is None:
            return item
        return Symbol(expressions[0])

    return jax.tree.map(shown, resolved(atom), is_leaf=lambda item: isinstance(item, Stream))
