"""Arrays laid out as one real vector, for nonlinear solvers."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array


@dataclasses.dataclass(frozen=True)
class Layout:
    """Arrays as one real vector. Complex ones are real parts, then imaginary parts."""

    avals: tuple[Any, ...]

    @property
    def dtype(self) -> Any:
        """The vector's dtype."""
        return jnp.finfo(jnp.result_type(*(aval.dtype for aval in self.avals))).dtype

    @functools.cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of entries of each array."""
        return tuple(aval.size * (1 + _is_complex(aval)) for aval in self.avals)

    @property
    def size(self) -> int:
        """The number of entries of the vector."""
        return sum(self.sizes)

    @property
    def wires(self) -> np.ndarray:
        """For each entry, the index of its array, `[size]`."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def pack(self, arrays: Sequence[Any]) -> Array:
        """The vector, `[size, *lanes]`, of arrays `[*value, *lanes]`."""
        rows = []
        for array, aval in zip(arrays, self.avals, strict=True):
            lanes = jnp.shape(array)[len(aval.shape) :]
            flat = jnp.reshape(array, (aval.size, *lanes))
            rows += [flat.real, flat.imag] if _is_complex(aval) else [flat]
        return jnp.concatenate([row.astype(self.dtype) for row in rows])

    def units(self) -> Iterator[tuple[int, Array]]:
        """For each entry of the vector, the index of its array, and that array with 1 there and 0
        elsewhere."""
        for index, aval in enumerate(self.avals):
            numbers = lax.iota(jnp.int32, aval.size).reshape(aval.shape)
            for number in range(self.sizes[index]):
                here = (numbers == number % aval.size) if aval.shape else True
                yield index, jnp.where(here, 1 if number < aval.size else 1j, 0).astype(aval.dtype)

    def unpack(self, vector: Any) -> list[Array]:
        """The arrays of a vector, `[*value, *lanes]`."""
        arrays, start = [], 0
        for size, aval in zip(self.sizes, self.avals, strict=True):
            row = lax.slice_in_dim(vector, start, start + size)
            if _is_complex(aval):
                row = lax.complex(row[: aval.size], row[aval.size :])
            arrays.append(row.reshape(*aval.shape, *vector.shape[1:]).astype(aval.dtype))
            start += size
        return arrays


def _is_complex(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.complexfloating)
