"""How large values are beside the unknowns of a fixed point, wire by wire: what is rounding."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

# Where rounding moves the solution by more than this part of it, and of `rtol`, there is none that
# can be told: that of a double root, or at infinity.
UNDETERMINED = 1 / 8  # of half of the digits
# Steps below so many times the dtype's resolution that fall no more are those of rounding, and, of
# a wire that is small beside the others, those below so many times the resolution of the largest.
ROUNDING, SPREAD = 64.0, 4.0


class Control(eqx.Module):
    """The numbers of a `FixedPoint`."""

    rtol: Float[Array, "*lanes"]
    atol: Float[Array, "*lanes"]
    damping: Float[Array, "*lanes"]
    max_steps: Int[Array, "*lanes"]


@dataclasses.dataclass(frozen=True)
class Scale:
    """Measures values by tolerances and by resolution; `wires[i]` is the wire of entry i."""

    wires: np.ndarray
    control: Control

    def by_wire(self, values: Array) -> Array:
        """The largest magnitude on each wire."""
        sizes, counts = jnp.abs(values), np.bincount(self.wires)
        if len(counts) == sizes.shape[0]:
            return sizes
        parts = jnp.split(sizes, np.cumsum(counts)[:-1].tolist())
        return jnp.stack([jnp.max(part, axis=0) for part in parts])

    def measure(self, values: Array, before: Array, after: Array) -> Array:
        """Values in units of the tolerance, for z between two."""
        resolution = jnp.finfo(values.dtype)
        scale = self.by_wire(jnp.maximum(jnp.abs(before), jnp.abs(after)))
        rtol = jnp.maximum(self.control.rtol, resolution.eps)
        unit = rtol * scale + self.control.atol + resolution.tiny
        return jnp.max(self.by_wire(values) / unit, axis=0)

    def roundings(self, values: Array, z: Array) -> Array:
        """Values in units of the resolution of z on each wire."""
        resolution = jnp.finfo(values.dtype)
        unit = resolution.eps * self.by_wire(jnp.abs(z)) + resolution.tiny
        return jnp.max(self.by_wire(values) / unit, axis=0)

    def is_determined(self, gain: Array) -> Array:
        """Whether a residual of rounding tells where the solution is, by how much z moves for each
        unit of residual."""
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
        """Whether values are below so many units of resolution of z on each wire.

        A wire may be a difference of large ones, so what these round to is let pass on all.
        """
        resolution = jnp.finfo(values.dtype)
        sizes = jnp.maximum(jnp.abs(before), jnp.abs(after))
        allowed = factor * self.by_wire(sizes) + SPREAD * largest(sizes)
        return every(self.by_wire(values) <= resolution.eps * allowed + resolution.tiny)


def largest(values: Array) -> Array:
    return jnp.max(jnp.abs(values), axis=0)


def norm(values: Array) -> Array:
    """The Euclidean norm, of numbers whose squares would leave the dtype's range, too."""
    top = largest(values)
    unit = jnp.where(top > 0, top, 1)
    return top * jnp.sqrt(jnp.sum((values / unit) ** 2, axis=0))


def every(flags: Array) -> Array:
    return jnp.min(flags.astype(jnp.int32), axis=0) > 0
