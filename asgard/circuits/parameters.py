"""The numbers of a circuit by readable names."""

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import DictKey, GetAttrKey, KeyPath, SequenceKey
from jaxtyping import Array

from ..errors import CircuitError
from .atoms.functions import Function
from .circuit import Block, Circuit, TypedBlock
from .constraints import constraints, is_constraint

# How many names a message lists.
_MOST_NAMES = 10


def parameters(circuit: Circuit) -> dict[str, Array]:
    """The arrays of a circuit by name, from left to right.

    A number of an atom is named by the atom and the field, `scalar.factor`, with an index if the
    term has several atoms of the kind: `scalar[0].factor`, `scalar[1].factor`. A number of a block
    is named by its field, `rate`, after the block's name if the block is part of a term:
    `prey.rate`. Combinators and constraints do not show in names.

    **Arguments:** `circuit`: any circuit, also under a JAX transformation.

    **Returns:** a dictionary from names to arrays.

    **Raises:** `CircuitError` if `circuit` is not a circuit.

    ```python
    ag.parameters(ag.Scalar(2.0) >> ag.Register("t", 1.0))
    # {"scalar.factor": Array(2.), "register.initial": Array(1.)}
    ```
    """
    return dict(zip(_names(_checked(circuit)), jax.tree.leaves(circuit), strict=True))


def update(circuit: Circuit, values: Mapping[str, Any]) -> Circuit:
    """The circuit with some of its arrays replaced, by the names of `parameters`.

    Structure, shapes and dtypes stay, so nothing is compiled again.

    **Arguments:**

    - `circuit`: any circuit.
    - `values`: the new number or array for each name, which may be traced; others stay.

    **Returns:** a circuit of the same structure.

    **Raises:** `CircuitError` for an unknown name, and for a value of another shape, of a
    dtype that does not fit, or out of the bound of a constraint.

    ```python
    faster = ag.update(circuit, {"scalar.factor": 3.0})
    ```
    """
    leaves, structure = jax.tree.flatten(_checked(circuit))
    if not isinstance(values, Mapping):
        raise CircuitError(f"update takes names and values, not {type(values).__name__}")
    indices = {name: index for index, name in enumerate(_names(circuit))}
    for name, value in values.items():
        if name not in indices:
            raise CircuitError(unknown(name, indices))
        leaves[indices[name]] = _converted(name, value, leaves[indices[name]])
    updated = jax.tree.unflatten(structure, leaves)
    for constraint in constraints(updated):
        constraint.check()
    return updated


def _checked(circuit: Any) -> Circuit:
    if not isinstance(circuit, Circuit):
        raise CircuitError(f"parameters are those of a circuit, not of {type(circuit).__name__}")
    return circuit


def _names(circuit: Circuit) -> Iterator[str]:
    """The name of each leaf of a circuit, in the order of its leaves."""
    if isinstance(circuit, Block):
        for path in _paths(circuit):
            yield path.removeprefix(".")
        return
    labels = [_label(part) for part in circuit.parts]
    counts, seen = Counter(labels), Counter()
    for part, label in zip(circuit.parts, labels, strict=True):
        name = f"{label}[{seen[label]}]" if counts[label] > 1 else label
        seen[label] += 1
        for path in _paths(part):
            yield name + path


def _label(part: Circuit) -> str:
    """What the numbers of an atom or block are named by."""
    given = part.label if isinstance(part, TypedBlock) else ""
    return given or _snake_case(type(part).__name__)


def _paths(part: Circuit) -> Iterator[str]:
    """The path to each leaf of an atom or block, such as `.layers[0].weight`."""
    if isinstance(part, Function):
        # The leaves of a function are the arrays of what it wraps, wherever they are in there.
        inside = jax.tree_util.tree_flatten_with_path(part.fn, is_leaf=is_constraint)[0]
        for path, leaf in inside:
            if isinstance(leaf, jax.Array) or is_constraint(leaf):
                yield _path_text(path)
        return
    inside = jax.tree_util.tree_flatten_with_path(
        part,
        is_leaf=lambda node: (
            is_constraint(node) or (isinstance(node, Circuit) and node is not part)
        ),
    )[0]
    by_name = part.by_name if isinstance(part, Block) else ()
    for path, leaf in inside:
        first = path[0].name if path and isinstance(path[0], GetAttrKey) else None
        shown = _path_text(path[1:] if first in by_name else path)
        if isinstance(leaf, Circuit):
            for name in _names(leaf):
                yield f"{shown}.{name}"
        else:
            yield shown


def _path_text(path: KeyPath) -> str:
    return "".join(_key_text(key) for key in path)


def _key_text(key: Any) -> str:
    if isinstance(key, GetAttrKey):
        return f".{key.name}"
    if isinstance(key, SequenceKey):
        return f"[{key.idx}]"
    if isinstance(key, DictKey) and isinstance(key.key, str) and key.key.isidentifier():
        return f".{key.key}"
    return f"[{key.key!r}]" if hasattr(key, "key") else f"[{key}]"


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def unknown(name: Any, known: Mapping[str, Any]) -> str:
    """The message for an unknown name, with names that are near."""
    near = difflib.get_close_matches(str(name)[:100], known, n=3)
    if near:
        return f"unknown parameter {name!r}; did you mean {' or '.join(near)}?"
    if not known:
        return f"unknown parameter {name!r}: the circuit has none"
    listed = list(known)[:_MOST_NAMES]
    more = f" and {len(known) - len(listed)} more" if len(known) > len(listed) else ""
    return f"unknown parameter {name!r}; the circuit has {', '.join(listed)}{more}"


def _converted(name: str, value: Any, leaf: Array) -> Array:
    """The value as an array of the leaf's shape and dtype."""
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise CircuitError(
            f"parameter {name!r} is an array or number, not {value!r:.60}"
        ) from error
    if array.shape != leaf.shape:
        raise CircuitError(
            f"parameter {name!r} has shape {leaf.shape}, but the new value has {array.shape}"
        )
    if not _fits(array.dtype, leaf.dtype):
        raise CircuitError(f"parameter {name!r} is {leaf.dtype}: no place for a {array.dtype}")
    return jnp.asarray(array, dtype=leaf.dtype)


def _fits(given: Any, held: Any) -> bool:
    """Whether a dtype is of the same kind as the one held or a narrower one: any float fits any."""
    kinds = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
    ranks = [
        [index for index, kind in enumerate(kinds) if jnp.issubdtype(dtype, kind)]
        for dtype in (given, held)
    ]
    return ranks[0] <= ranks[1] if all(ranks) else given == held
