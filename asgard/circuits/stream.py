"""Streams: functions as their Taylor coefficients about a centre."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact

from ..errors import CircuitError, DimensionError
from .fields import as_inexact
from .pictured import picture


class Stream(eqx.Module):
    """A polynomial in `dims` about `center`, with values of any shape.

    `coefficients[..., i, j]` multiplies (x - cx)^i (y - cy)^j for dims ("x", "y"): Taylor
    coefficients, f^(n)(c)/n!. Coefficients that are not given are zero.

    **Arguments:**

    - `coefficients`: shape `[*value, *orders]`, one trailing axis for each of `dims`.
    - `dims`: the names of the coefficient axes.
    - `center`: the point about which the series is: a number, or one for each of `dims`.

    ```python
    ag.Stream([2.0, 3.0, 0.5], ("x",))  # 2 + 3 x + x^2 / 2
    ```
    """

    coefficients: Inexact[Array, "*value_and_orders"]
    dims: tuple[str, ...] = eqx.field(static=True)
    center: Inexact[Array, "..."]

    def __init__(self, coefficients: Any, dims: str | Sequence[str], center: Any = 0.0):
        if not isinstance(dims, Sequence):
            raise DimensionError(f'Stream: dims must be names such as "t", not {dims!r}')
        self.dims = (dims,) if isinstance(dims, str) else tuple(dims)
        self.coefficients = as_inexact("Stream: coefficients", coefficients)
        self.center = as_inexact("Stream: center", center).astype(
            jnp.finfo(self.coefficients.dtype).dtype
        )
        if len(set(self.dims)) != len(self.dims) or not all(
            isinstance(dim, str) for dim in self.dims
        ):
            raise DimensionError(f"Stream: dims must be different names, not {self.dims}")
        if self.coefficients.ndim < len(self.dims) or 0 in self.orders_given:
            raise DimensionError(
                f"Stream: dims {self.dims} name one coefficient axis each, but the coefficients "
                f"have shape {self.coefficients.shape}"
            )
        if self.center.shape not in ((), (len(self.dims),)):
            raise DimensionError(
                f"Stream: center must be a number or one for each of {self.dims}, "
                f"not of shape {self.center.shape}"
            )

    @classmethod
    def from_derivatives(cls, derivatives: Any, dims: str | Sequence[str], center: Any = 0.0):
        """The stream with these derivatives at the centre, in the shape of `coefficients`.

        Raises `CircuitError` for orders that the dtype cannot hold: past 33 in float32, and past
        170 in float64.
        """
        stream = cls(derivatives, dims, center)
        return cls(stream.coefficients / stream._factorials(), stream.dims, center)

    @property
    def orders_given(self) -> tuple[int, ...]:
        """How many coefficients each of `dims` has."""
        return self.coefficients.shape[self.coefficients.ndim - len(self.dims) :]

    @property
    def value_shape(self) -> tuple[int, ...]:
        """The shape of the function's value."""
        return self.coefficients.shape[: self.coefficients.ndim - len(self.dims)]

    def derivatives(self) -> Array:
        """The derivatives at the centre, n! times the coefficients, in the same shape.

        Raises `CircuitError` for orders that the dtype cannot hold: past 33 in float32, and past
        170 in float64.
        """
        return self.coefficients * self._factorials()

    def center_of(self, dim: str) -> Array:
        """The centre along one of `dims`."""
        return self.center if self.center.ndim == 0 else self.center[self.dims.index(dim)]

    def evaluate(self, **points: Any) -> Array:
        """The polynomial's value at points, one argument for each of `dims`.

        Returns shape `[*value, *grid]`: numbers give no axis; arrays span a grid, their axes in the
        order of `dims`.
        """
        if set(points) != set(self.dims):
            raise DimensionError(
                f"evaluate takes a value for each of {self.dims}, not for {tuple(points)}"
            )
        result = self.coefficients
        # The first of the coefficient axes is summed, and its points' axes come last.
        axis = len(self.value_shape)
        for dim in self.dims:
            offset = jnp.asarray(points[dim]) - self.center_of(dim)
            result = jnp.moveaxis(result, axis, 0)
            result = horner(result, offset)
        return result

    def plot(
        self,
        *,
        radius: float = 1.0,
        name: str = "value",
        ax: Any = None,
        units: Mapping[str, str] | None = None,
    ) -> Any:
        """Draws the polynomial about its centre: lines along one dimension, a heat map over two.

        **Arguments:**

        - `radius`: how far from the centre along each dimension. Nothing says whether the function
          that the stream is of is still near its polynomial there.
        - `name`: what labels call the value.
        - `ax`: axes of matplotlib to draw on; by default those of a new figure.
        - `units`: what labels say in brackets, by the name of the value and of dimensions.

        **Returns:** the axes.

        **Raises:** `CircuitError` under a JAX transformation and for more than two dimensions;
        `ImportError` without matplotlib.
        """
        return picture("stream.plot", self, radius=radius, name=name, ax=ax, units=units)

    def __repr__(self) -> str:
        shape = ", ".join(map(str, self.coefficients.shape))
        return f"Stream({self.coefficients.dtype}[{shape}], dims={self.dims})"

    def _factorials(self) -> Array:
        dtype = jnp.finfo(self.coefficients.dtype)
        limit = largest_factorial_order(dtype.dtype)
        factors = jnp.ones((), dtype.dtype)
        for dim, count in zip(self.dims, self.orders_given, strict=True):
            if count - 1 > limit:
                raise CircuitError(
                    f"order {count - 1} along {dim} is past what {dtype.dtype} holds: derivatives "
                    f"are n! times the coefficients, which goes to order {limit}; work with "
                    "coefficients instead"
                )
            axis = [float(math.factorial(order)) for order in range(count)]
            factors = factors[..., None] * jnp.asarray(axis, dtype.dtype)
        return factors


def horner(coefficients: Array, offset: Array) -> Array:
    """The sum of coefficients[k] offset^k: shape `[order, *value]` to `[*value, *offset]`."""
    lead = coefficients.reshape(coefficients.shape + (1,) * offset.ndim)
    shape = jnp.broadcast_shapes(lead.shape[1:], (1,) * (coefficients.ndim - 1) + offset.shape)
    dtype = jnp.result_type(coefficients, offset)

    def step(value, coefficient):
        return value * offset + coefficient, None

    start = jnp.zeros(shape, dtype)
    return jax.lax.scan(step, start, lead.astype(dtype), reverse=True)[0]


def largest_factorial_order(dtype: Any) -> int:
    """The largest n with n! and 1/n! both normal numbers of a real dtype: 33, 170."""
    info = np.finfo(dtype)
    order = 0
    factorial = 1
    while (
        factorial * (order + 1) <= float(info.max)
        and factorial * (order + 1) * float(info.tiny) <= 1.0
    ):
        order += 1
        factorial *= order
    return order
