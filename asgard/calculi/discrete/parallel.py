"""Linear sequences by an associative scan: log2(n) passes over all samples, for accelerators.

What the state atoms hold after a sample is A c + b, with c what they hold before it. Two such maps
in turn are one: A₂ (A₁ c + b₁) + b₂. So all samples' contents are prefixes of a product, which is
computed in pairs (Blelloch, *Prefix sums and their applications*, 1990).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Inexact

from ...errors import CircuitError
from ...jaxprs.primitives import traits
from ...jaxprs.program import Program, trace

Advance = Callable[[Any, Any], Any]


def contents_of_all(advance: Advance, start: Any, rows: Any, names: Sequence[str]) -> Any:
    """What the state atoms hold before each sample, and after the last: arrays `[samples + 1, …]`.

    **Arguments:**

    - `advance`: from the contents before a sample and its row to those after, affine in contents.
    - `start`: the contents before the first sample.
    - `rows`: what else a sample reads, arrays `[samples, …]`.
    - `names`: what errors call the state atoms.

    **Raises:** `CircuitError` where `advance` is not affine.
    """
    if len({jnp.iscomplexobj(x) for x in jax.tree.leaves(start)}) > 1:
        raise CircuitError("Discrete(parallel=True): registers hold real and complex numbers")
    row = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rows)
    varies = _check_affine(advance, start, row, names)
    flat, unflatten = ravel_pytree(start)

    def after(content: Array, row: Any) -> Array:
        return ravel_pytree(advance(unflatten(content), row))[0]

    zero = jnp.zeros_like(flat)
    slope = jax.jacfwd(after, holomorphic=jnp.iscomplexobj(flat))
    offsets = jax.vmap(lambda row: after(zero, row))(rows)
    first = jax.tree.map(lambda x: x[0], rows)
    if varies:
        matrices = jax.vmap(lambda row: slope(zero, row))(rows)
        offsets = offsets.at[0].add(matrices[0] @ flat)
        _, found = lax.associative_scan(_after_each_other, (matrices, offsets))
    else:
        matrix = slope(zero, first)
        found = _prefixes(matrix, offsets.at[0].add(matrix @ flat))
    return jax.vmap(unflatten)(jnp.concatenate([flat[None], found]))


def _after_each_other(first: Any, second: Any) -> Any:
    """Two affine maps in turn as one; each is a matrix and an offset, with leading axes."""
    (a, b), (c, d) = first, second
    return c @ a, jnp.einsum("...ij,...j->...i", c, b) + d


def _prefixes(
    matrix: Inexact[Array, "n n"], offsets: Inexact[Array, "samples n"]
) -> Inexact[Array, "samples n"]:
    """c[k] = A c[k - 1] + b[k] for all k, from c[-1] = 0, with one matrix for all samples."""
    count = offsets.shape[0]
    if count == 1:
        return offsets
    pairs = offsets[: count - 1 : 2] @ matrix.T + offsets[1::2]
    odd = _prefixes(matrix @ matrix, pairs)
    rest = odd[: (count - 1) // 2] @ matrix.T + offsets[2::2]
    even = jnp.concatenate([offsets[:1], rest])
    whole = jnp.zeros_like(offsets)
    return whole.at[::2].set(even).at[1::2].set(odd)


def _check_affine(advance: Advance, start: Any, row: Any, names: Sequence[str]) -> bool:
    """Whether the matrix differs from sample to sample. Raises where there is none."""
    contents, structure = jax.tree.flatten(
        jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), start)
    )
    leaves, rows = jax.tree.flatten(row)
    varies = False
    for index, name in enumerate(names[: len(contents)]):

        def after(content: list[Any], others: list[Any], index: int = index) -> Array:
            values = jax.tree.unflatten(structure, content), jax.tree.unflatten(rows, others)
            return jax.tree.leaves(advance(*values))[index]

        def flat(fn: Callable[..., Any]) -> Callable[..., list[Any]]:
            return lambda *values: jax.tree.leaves(
                fn(list(values[: len(contents)]), list(values[len(contents) :]))
            )

        holomorphic = any(jnp.issubdtype(x.dtype, jnp.complexfloating) for x in contents)
        value = trace(flat(after), *contents, *leaves)
        matrix = trace(flat(jax.jacfwd(after, holomorphic=holomorphic)), *contents, *leaves)
        read = {number for equation in matrix.equations for number in equation.ins}
        read |= set(matrix.outputs)
        if read & set(matrix.inputs[: len(contents)]) or not _is_smooth(value, len(contents)):
            raise CircuitError(
                f"Discrete(parallel=True) runs circuits that are linear in what their registers "
                f"hold; what goes into {name} is not"
            )
        varies |= bool(read & set(matrix.inputs[len(contents) :]))
    return varies


def _is_smooth(program: Program, count: int) -> bool:
    """Whether all that is computed from the first inputs, so many, is analytic."""
    reached = set(program.inputs[:count])
    for equation in program.equations:
        if reached.intersection(equation.ins):
            chooses = equation.name == "select_n" and equation.ins[0] not in reached
            if not chooses and not traits(equation.name).smooth:
                return False
            reached.update(equation.outs)
    return True
