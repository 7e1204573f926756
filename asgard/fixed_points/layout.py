"""Arrays laid out as one real vector, as a nonlinear solver wants its unknowns."""

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
    """Arrays as one real vector: complex ones by their real and then their imaginary parts."""

    avals: tuple[Any, ...]

    @property
    def dtype(self) -> Any:
        """The vector's dtype."""
        return jnp.finfo(jnp.result_type(*(aval.dtype for aval in self.avals))).dtype

    @functools.cached_property
    def sizes(self) -> tuple[int, ...]:
        """How many entries each array takes."""
        return tuple(aval.size * (1 + _is_complex(aval)) for aval in self.avals)

    @property
    def size(self) -> int:
        """How many entries all take."""
        return sum(self.sizes)

    @property
    def wires(self) -> np.ndarray:
        """The number of the array that each entry is of."""
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
        """For each entry of the vector its array's number, and that array with 1 there alone."""
        for place, aval in enumerate(self.avals):
            numbers = lax.iota(jnp.int32, aval.size).reshape(aval.shape)
            for number in range(self.sizes[place]):
                here = (numbers == number % aval.size) if aval.shape else True
                yield place, jnp.where(here, 1 if number < aval.size else 1j, 0).astype(aval.dtype)

    def unpack(self, vector: Any) -> list[Array]:
        """The arrays of a vector."""
        arrays, place = [], 0
        for size, aval in zip(self.sizes, self.avals, strict=True):
            row = lax.slice_in_dim(vector, place, place + size)
            if _is_complex(aval):
                row = lax.complex(row[: aval.size], row[aval.size :])
            arrays.append(row.reshape(*aval.shape, *vector.shape[1:]).astype(aval.dtype))
            place += size
        return arrays


def _is_complex(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.complexfloating)
