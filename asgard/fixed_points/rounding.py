"""The sizes of steps and residuals in units of tolerances and of rounding, wire by wire."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..jaxprs.fences import largest_of

# A solution is not determined if rounding moves it by more than `rtol`, and more than this part of
# half of the digits: at a double root, or at infinity.
UNDETERMINED = 1 / 8
# Steps that get no smaller are rounding if they are below so many resolutions of their own wire,
# plus so many of the largest wire.
ROUNDING, SPREAD = 64.0, 4.0


class SolveControl(eqx.Module):
    """The numbers of a `FixedPoint`."""

    rtol: Float[Array, "*lanes"]
    atol: Float[Array, "*lanes"]
    damping: Float[Array, "*lanes"]
    max_steps: Int[Array, "*lanes"]


@dataclasses.dataclass(frozen=True)
class Scale:
    """Measures values, `[unknowns, *lanes]`; `wires[i]` is the wire of entry i."""

    wires: np.ndarray
    control: SolveControl

    def by_wire(self, values: Array) -> Array:
        """The largest magnitude on each wire."""
        sizes, counts = jnp.abs(values), np.bincount(self.wires)
        if len(counts) == sizes.shape[0]:
            return sizes
        parts = jnp.split(sizes, np.cumsum(counts)[:-1].tolist())
        return jnp.stack([largest_of(part, (0,)) for part in parts])

    def measure(self, values: Array, before: Array, after: Array) -> Array:
        """The size of values in units of the tolerance, for z between two."""
        resolution = jnp.finfo(values.dtype)
        scale = self.by_wire(jnp.maximum(jnp.abs(before), jnp.abs(after)))
        rtol = jnp.maximum(self.control.rtol, resolution.eps)
        unit = rtol * scale + self.control.atol + resolution.tiny
        return largest_of(self.by_wire(values) / unit, (0,))

    def roundings(self, values: Array, z: Array) -> Array:
        """The size of values in units of the resolution of z, wire by wire."""
        resolution = jnp.finfo(values.dtype)
        unit = resolution.eps * self.by_wire(jnp.abs(z)) + resolution.tiny
        return largest_of(self.by_wire(values) / unit, (0,))

    def is_determined(self, gain: Array) -> Array:
        """Whether a residual of rounding determines the solution.

        z moves by `gain` for each unit of residual.
        """
        resolution = jnp.finfo(gain.dtype).eps
        bound = jnp.maximum(self.control.rtol, UNDETERMINED * resolution**0.5)
        return ~(gain * resolution > bound)

    def is_regular(self, condition: Array) -> Array:
        """Whether rounding leaves digits of a solution, by the condition number of 1 - J."""
        resolution = jnp.finfo(condition.dtype).eps
        bound = jnp.maximum(self.control.rtol, UNDETERMINED * resolution**0.5)
        return condition * resolution <= bound

    def is_rounding(
        self, values: Array, before: Array, after: Array, factor: float = ROUNDING
    ) -> Array:
        """Whether values are below `factor` resolutions of z on each wire.

        A wire may be the difference of large ones, so their resolution is allowed on each wire.
        """
        resolution = jnp.finfo(values.dtype)
        # Times eps before any factor, or the largest numbers would allow infinitely much.
        sizes = resolution.eps * jnp.maximum(jnp.abs(before), jnp.abs(after))
        allowed = factor * self.by_wire(sizes) + SPREAD * largest(sizes)
        return every(self.by_wire(values) <= allowed + resolution.tiny)


def largest(values: Array) -> Array:
    return largest_of(jnp.abs(values), (0,))


def norm(values: Array, axis: int = 0) -> Array:
    """The Euclidean norm along an axis, also where its squares leave the dtype's range."""
    top = largest_of(lax.abs(values), (axis,))
    unit = jnp.expand_dims(jnp.where(top > 0, top, 1), axis)
    return jnp.squeeze(unit, axis) * lax.sqrt(lax.reduce_sum((values / unit) ** 2, (axis,)))


def every(flags: Array) -> Array:
    return jnp.min(flags.astype(jnp.int32), axis=0) > 0
