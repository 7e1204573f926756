"""Sampled inputs: values at times, and the function that runs through them."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact

from ..errors import CircuitError
from ..jaxprs.concrete import is_concrete
from .fields import NOT_NUMBERS, as_array

# How many samples each kind needs.
KINDS = {"hold": 1, "linear": 2, "cubic": 4}


class Samples(eqx.Module):
    """An input that is known at sample times and interpolated between them.

    Outside of its times it holds its end values. Values and times are leaves: they may change
    without a new compilation, and both have gradients. Under `Real` each sample time is a
    breakpoint, so a step sees one polynomial, and the input costs no accuracy.

    **Arguments:**

    - `values`: the samples, `[times, *value]`.
    - `ts`: their times, `[times]`, strictly increasing, also for runs backward in time. Without
      `ts`, values[n] is sample number n, for calculi whose time counts samples.
    - `kind`: the interpolation between two samples.
        - "hold": the value of the sample before (a zero-order hold).
        - "linear": the straight line.
        - "cubic": the cubic spline of `scipy.interpolate.CubicSpline`: continuous second
          derivative, not-a-knot ends. Every sample changes all of it.

    **Raises:** `CircuitError` for an unknown kind, shapes that disagree, too few samples (cubic
    takes 4), and known times that are not finite and increasing.

    Source of "cubic": C. de Boor, *A Practical Guide to Splines* (1978), chapter IV.

    ```python
    ag.Samples([0.0, 1.0, 0.5], ts=[0.0, 2.0, 3.0], kind="linear")
    ```
    """

    values: Inexact[Array, "times *value"]
    ts: Float[Array, " times"] | None
    kind: str = eqx.field(static=True)

    def __init__(self, values: Any, ts: Any = None, kind: str = "hold"):
        if not isinstance(kind, str) or kind not in KINDS:
            raise CircuitError(f"Samples: kind must be one of {', '.join(KINDS)}, not {kind!r}")
        self.values = _numbers("values", values)
        self.ts = None if ts is None else _numbers("ts", ts)
        self.kind = kind
        self._check()

    def interpolant(self, dtype: Any) -> "Interpolant":
        """The input as a function of time, computed in `dtype`.

        Raises `CircuitError` for samples without times.
        """
        if self.ts is None:
            raise CircuitError("Samples: give the samples their times, Samples(values, ts)")
        ts, values = self.ts, self.values.astype(dtype)
        pieces = _POLYNOMIALS[self.kind](ts, values)
        # Constant before the first time and after the last.
        blank = jnp.zeros((1, *pieces.shape[1:]), pieces.dtype)
        first, last = (blank.at[0, 0].set(values[index]) for index in (0, -1))
        origins = jnp.concatenate([ts[:1], ts])
        return Interpolant(origins, jnp.concatenate([first, pieces, last]))

    def __repr__(self) -> str:
        shape = ", ".join(map(str, self.values.shape))
        return f"Samples({self.values.dtype}[{shape}], kind={self.kind!r})"

    def _check(self) -> None:
        values, ts = self.values, self.ts
        if values.ndim == 0:
            raise CircuitError("Samples: values must be an array [times, *value], not a number")
        least = KINDS[self.kind]
        if values.shape[0] < least:
            raise CircuitError(
                f"Samples: kind={self.kind!r} takes at least {least} sample{'s'[: least != 1]}, "
                f"not {values.shape[0]}"
            )
        if ts is None:
            if self.kind != "hold":
                raise CircuitError(f"Samples: kind={self.kind!r} needs the samples' times, ts")
            return
        if ts.shape != values.shape[:1]:
            raise CircuitError(
                f"Samples: ts must have one time for each of the {values.shape[0]} samples, but "
                f"has shape {ts.shape}"
            )
        if jnp.issubdtype(ts.dtype, jnp.complexfloating):
            raise CircuitError("Samples: ts must be real times, not complex numbers")
        if is_concrete(ts):
            times = np.asarray(ts, dtype=np.float64)
            if not np.all(np.isfinite(times)):
                raise CircuitError("Samples: ts must be finite")
            if not np.all(np.diff(times) > 0):
                raise CircuitError("Samples: ts must be strictly increasing")


class Interpolant(eqx.Module):
    """A piecewise polynomial: coefficients[i, k] multiplies (t - origins[i])^k.

    Piece i holds from origins[i] on, up to the next one; the first piece holds before it.
    """

    origins: Float[Array, " pieces"]
    coefficients: Inexact[Array, "pieces orders *value"]

    def __call__(self, t: Float[Array, ""]) -> Array:
        """The value at a time, in the dtype of the coefficients."""
        piece = _last_until(self.origins, t)
        coefficients = _at(self.coefficients, piece)
        value = coefficients[-1]
        if coefficients.shape[0] > 1:
            offset = t - _at(self.origins, piece).astype(t.dtype)
            offset = offset.astype(jnp.finfo(value.dtype).dtype)
            for k in range(coefficients.shape[0] - 2, -1, -1):
                value = value * offset + coefficients[k]
        return value


def _numbers(name: str, value: Any) -> Array:
    try:
        return as_array("Samples", jnp.asarray(value))
    except NOT_NUMBERS as error:
        raise CircuitError(f"Samples: {name} must be an array of numbers, not {value!r}") from error


def _last_until(times: Array, t: Array) -> Array:
    """The index of the last of increasing times that is at most t, or 0. Found by bisection.

    It reads single entries, so that many of them cost a loop that calls it little. They are
    compared in the dtype of t, which is that of the run's steps.
    """
    t = lax.stop_gradient(t)
    count = times.shape[0]

    def halve(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        index, candidates = carry
        half = lax.div(candidates, jnp.int32(2))
        middle = index + half
        reached = _at(times, middle).astype(t.dtype) <= t
        return (jnp.where(reached, middle, index), candidates - half), None

    start = jnp.int32(0), jnp.int32(count)
    (index, _), _ = lax.scan(halve, start, length=(count - 1).bit_length())
    return index


def _at(array: Array, index: Array) -> Array:
    return lax.dynamic_index_in_dim(array, index, keepdims=False, allow_negative_indices=False)


def _hold(ts: Array, values: Array) -> Array:
    return values[:-1, None]


def _linear(ts: Array, values: Array) -> Array:
    return jnp.stack([values[:-1], _secants(ts, values)], axis=1)


def _cubic(ts: Array, values: Array) -> Array:
    """The pieces of the spline, `[times - 1, 4, *value]`."""
    h, secants = _as_column(jnp.diff(ts), values), _secants(ts, values)
    slopes = _spline_slopes(ts, values)
    bend = (slopes[:-1] + slopes[1:] - 2 * secants) / h
    pieces = [values[:-1], slopes[:-1], (secants - slopes[:-1]) / h - bend, bend / h]
    return jnp.stack([piece.astype(values.dtype) for piece in pieces], axis=1)


def _spline_slopes(ts: Array, values: Array) -> Array:
    """The slopes at the samples, `[times, *value]`.

    They make second derivatives continuous, and third ones too at the second and the last but one
    sample (not-a-knot).
    """
    h = jnp.diff(ts)
    secants = _secants(ts, values)
    wide = _as_column(h, values)
    inner = 3 * (wide[1:] * secants[:-1] + wide[:-1] * secants[1:])

    def end(h: Array, secants: Array) -> Array:
        both = h[0] + h[1]
        return ((h[0] + 2 * both) * h[1] * secants[0] + h[0] ** 2 * secants[1]) / both

    first, last = end(h[:2], secants[:2]), end(h[:-3:-1], secants[:-3:-1])
    diagonal = jnp.concatenate([h[1:2], 2 * (h[:-1] + h[1:]), h[-2:-1]])
    below = jnp.concatenate([jnp.zeros(1, h.dtype), h[1:], h[-1:] + h[-2:-1]])
    above = jnp.concatenate([h[:1] + h[1:2], h[:-1], jnp.zeros(1, h.dtype)])
    right = jnp.concatenate([first[None], inner, last[None]])
    right = right.reshape(len(ts), -1)
    dtype = jnp.result_type(right, h)
    below, diagonal, above, right = (x.astype(dtype) for x in (below, diagonal, above, right))
    return lax.linalg.tridiagonal_solve(below, diagonal, above, right).reshape(values.shape)


def _secants(ts: Array, values: Array) -> Array:
    """The slopes of the lines between samples, `[times - 1, *value]`."""
    return (jnp.diff(values, axis=0) / _as_column(jnp.diff(ts), values)).astype(values.dtype)


def _as_column(steps: Array, values: Array) -> Array:
    """Durations `[n]`, reshaped to broadcast against `values`."""
    return steps.reshape((-1,) + (1,) * (values.ndim - 1))


_POLYNOMIALS = {"hold": _hold, "linear": _linear, "cubic": _cubic}
