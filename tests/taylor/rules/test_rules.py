"""The series of elementary functions and of common jnp functions against exact references."""

import functools
import math
from fractions import Fraction

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import scipy.special
from helpers import neighbour_error, polynomial, taylor

import asgard as ag
from asgard.circuits.atoms.functions import Elementary

ORDER = 20
# What comes after the value at the centre: exact in float32, so both dtypes share one reference.
INNER = (0.5, -0.25, 0.125, 0.3125, -0.0625)
COORDINATE = (1.0,)

# Each elementary function with points, some where recurrences lose digits if seeded carelessly.
FUNCTIONS = {
    ag.Exp: (mp.exp, [0.3125, -4.0, 20.0]),
    ag.Log: (mp.log, [0.6875, 3.0, 50.0]),
    ag.Sqrt: (mp.sqrt, [0.6875, 3.0, 50.0]),
    ag.Sin: (mp.sin, [0.0, 0.3125, 3.0, 30.0]),
    ag.Cos: (mp.cos, [0.0, 0.3125, 3.0, 30.0]),
    ag.Tan: (mp.tan, [0.0, 0.3125, 1.375, 3.0]),
    ag.Arcsin: (mp.asin, [0.0, 0.3125, 0.875, -0.875]),
    ag.Arccos: (mp.acos, [0.0, 0.3125, 0.875, -0.875]),
    ag.Arctan: (mp.atan, [0.0, 0.3125, 2.5, -8.0, 50.0]),
    ag.Sinh: (mp.sinh, [0.0, 0.3125, 2.5, -8.0, 20.0]),
    ag.Cosh: (mp.cosh, [0.0, 0.3125, 2.5, -8.0, 20.0]),
    ag.Tanh: (mp.tanh, [0.0, 0.3125, 2.5, -2.5, 8.0, 20.0]),
    ag.Sigmoid: (lambda x: 1 / (1 + mp.exp(-x)), [0.0, 0.3125, 5.0, -5.0, 20.0, -20.0]),
    ag.Erf: (mp.erf, [0.0, 0.3125, 1.0, 2.5, -2.5, 5.0]),
    ag.Abs: (lambda x: x if mp.re(x) > 0 else -x, [0.3125, -2.0]),
}
TWO_WIRES = {ag.Maximum, ag.Minimum}

POWERS = {
    **{p: [0.6875, -1.3125, 3.0] for p in (-3, -2, -1)},
    **{p: [0.6875, 3.0] for p in (0.5, 1.5, -0.5, -1.3, 2.7)},
}


def tolerance(dtype):
    return 1e-13 if dtype == jnp.float64 else 32 * float(jnp.finfo(dtype).eps)


def streams(points, inner, dtype):
    """The series of one function at several points at once."""
    rows = [[point, *inner] for point in points]
    return rows, ag.Stream(jnp.asarray(rows, dtype), "t")


@functools.cache
def expanded(inner, dtype):
    """The series of all elementary functions, each at its points, by one program."""
    given = [streams(points, inner, dtype)[1] for _, points in FUNCTIONS.values()]
    results = ag.series(ag.Monoidal(*(atom() for atom in FUNCTIONS)), *given, order=ORDER)
    return dict(zip(FUNCTIONS, results, strict=True))


@pytest.mark.parametrize("inner", [INNER, COORDINATE], ids=["composed", "coordinate"])
@pytest.mark.parametrize("atom", FUNCTIONS, ids=lambda atom: atom.__name__)
def test_elementary_functions_keep_their_digits(atom, inner):
    function, points = FUNCTIONS[atom]
    rows, _ = streams(points, inner, jnp.float64)
    exact = [taylor(lambda x, row=row: function(polynomial(row, x)), ORDER) for row in rows]
    for dtype in (jnp.float64, jnp.float32) if inner is INNER else (jnp.float64,):
        result = expanded(inner, dtype)[atom]
        assert result.coefficients.dtype == dtype
        for got, want in zip(result.coefficients, exact, strict=True):
            assert neighbour_error(got, want) < tolerance(dtype)


def test_every_elementary_atom_has_a_reference():
    assert set(Elementary.__subclasses__()) == set(FUNCTIONS) | TWO_WIRES


@pytest.mark.parametrize("power", POWERS)
def test_powers_keep_their_digits(power):
    points = POWERS[power]
    rows, given = streams(points, INNER, jnp.float64)
    exponent = power if isinstance(power, int) else mp.mpf(power)
    result = ag.series(ag.Power(power), given, order=ORDER)
    for row, got in zip(rows, result.coefficients, strict=True):
        exact = taylor(lambda x, row=row: polynomial(row, x) ** exponent, ORDER)
        assert neighbour_error(got, exact) < 1e-13


@pytest.mark.parametrize("power", [0, 1, 2, 3, 5, 10])
def test_integer_powers_are_polynomials_also_at_a_base_of_zero(power):
    points = [0.6875, -1.3125, 0.0]
    rows, given = streams(points, INNER, jnp.float64)
    result = ag.series(ag.Power(power), given, order=ORDER)
    for row, got in zip(rows, result.coefficients, strict=True):
        exact = [Fraction(1)]
        for _ in range(power):
            longer = [Fraction(0)] * (len(exact) + len(row) - 1)
            for i, a in enumerate(exact):
                for j, b in enumerate(row):
                    longer[i + j] += a * Fraction(b)
            exact = longer
        exact = [mp.mpf(c.numerator) / c.denominator for c in exact][: ORDER + 1]
        assert neighbour_error(got, exact + [mp.mpf(0)] * (ORDER + 1 - len(exact))) < 1e-13


def test_float_powers_take_negative_bases_where_they_are_whole():
    given = ag.Stream([-1.0, 1.0], "t")
    assert ag.series(ag.Power(2.0), given, order=3).coefficients.tolist() == [1.0, -2.0, 1.0, 0.0]


@pytest.mark.parametrize("divisor", [(1.25, -0.5, 0.25), (-0.25, 0.75, 0.125), (5.0, 0.0, 1.0)])
def test_division_keeps_its_digits(divisor):
    dividend = (0.75, 0.25, -0.5, 0.125)
    exact = taylor(lambda x: polynomial(dividend, x) / polynomial(divisor, x), ORDER)
    result = ag.series(ag.Divide(), ag.Stream(dividend, "t"), ag.Stream(divisor, "t"), order=ORDER)
    assert neighbour_error(result.coefficients, exact) < 1e-13


def test_products_are_cauchy_products():
    factors = [(1.0, 2.0, 3.0), (4.0, 5.0), (6.0, 0.0, 7.0)]
    result = ag.series(ag.Multiplication(3), *(ag.Stream(f, "t") for f in factors), order=7)
    exact = np.convolve(np.convolve(factors[0], factors[1]), factors[2])
    assert result.coefficients.tolist() == [*exact, 0.0, 0.0]


@pytest.mark.parametrize(
    ("atom", "expected"), [(ag.Maximum, [2.0, -1.0, 0.0]), (ag.Minimum, [1.0, 1.0, 0.0])]
)
def test_maximum_and_minimum_take_the_branch_at_the_centre(atom, expected):
    low, high = ag.Stream([1.0, 1.0], "t"), ag.Stream([2.0, -1.0], "t")
    assert ag.series(atom(), low, high, order=2).coefficients.tolist() == expected
    assert ag.series(atom(), high, low, order=2).coefficients.tolist() == expected


def curve(t):
    """A curve in R^3, all three of whose components stay on one side of every kink."""
    return jnp.array([0.7, 1.3, -0.4]) + jnp.array([0.3, -0.2, 0.5]) * t + t * t / 4


MATRIX = jnp.array([[2.0, 0.5, 0.0], [0.5, 3.0, 1.0], [0.0, 1.0, 4.0]])
JNP = {
    "stack": lambda x: jnp.stack([x, 2 * x]),
    "tile": lambda x: jnp.tile(x, 2),
    "roll": lambda x: jnp.roll(x, 1) * x,
    "norm": lambda x: x / jnp.linalg.norm(x),  # an array divided by a number
    "number_minus_array": lambda x: x[0] - jnp.ones(3) * 2,
    "number_times_array": lambda x: jnp.sum(x) * x,
    "number_over_array": lambda x: jnp.sum(x) / x,
    "number_to_a_power": lambda x: jnp.sum(x) ** jnp.array([2.5, 3.0, 1.0]),
    "matrix": lambda x: jnp.einsum("ij,j->i", MATRIX, x) * (x @ MATRIX @ x),
    "outer": lambda x: jnp.outer(x, x) @ jnp.outer(x, jnp.sin(x)),
    "softmax": jax.nn.softmax,
    "logsumexp": jax.nn.logsumexp,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "softplus": jax.nn.softplus,
    "elu": jax.nn.elu,
    "extremes": lambda x: jnp.max(jnp.outer(x, x), axis=1) - jnp.min(x),
    "where": lambda x: jnp.where(x > 0, x * x, jnp.sin(x)),
    "clip": lambda x: jnp.clip(x, -1, 1),
    "indexing": lambda x: x[jnp.array([2, 0])] * x[1:],
    "updates": lambda x: x.at[1].set(0.0).at[0].add(x[2]),
    "segments": lambda x: jax.ops.segment_sum(x, jnp.array([0, 0, 1]), 2),
    "convolve": lambda x: jnp.convolve(x, x),
    "fft": lambda x: jnp.abs(jnp.fft.rfft(x).real),
    "arctan2": lambda x: jnp.arctan2(x, x[::-1]) + jnp.arctan2(x, -x),
    "hypot": lambda x: jnp.hypot(x, 1.0),
    "logarithms": lambda x: jnp.log2(x + 3) + jnp.log10(x + 3) + jnp.log1p(x * x),
    "exponentials": lambda x: jnp.exp2(x) + jnp.expm1(x),
    "areas": lambda x: jnp.arcsinh(x) + jnp.arccosh(x + 3) + jnp.arctanh(x / 3),
    "roots": lambda x: jnp.cbrt(x) + jax.lax.rsqrt(x + 3),
    "steps": lambda x: x * jnp.sign(x) + jnp.floor(x) + jnp.mod(x, 1.0),
    "powers": lambda x: jnp.abs(x) ** x,
    "gradient": jax.grad(lambda x: jnp.sum(jnp.sin(x) ** 2)),
    "checkpoint": jax.checkpoint(jnp.sin),
    "layer_norm": eqx.nn.LayerNorm(3),
    "conv_layer": lambda x: eqx.nn.Conv1d(1, 2, 2, key=jax.random.key(0))(x[None]),
}


def series_and_derivatives(function):
    """A function's series along `curve`, and the same by nested derivatives."""

    def value(t):
        return function(curve(t))

    def slope(t):
        return jax.jvp(value, (t,), (1.0,))[1]

    constant, linear = jax.jvp(curve, (0.0,), (1.0,))
    given = jnp.stack([constant, linear, jnp.full(3, 0.25)], axis=-1)
    # Three coefficients of three components, which a wrong broadcast would mix.
    result = ag.series(ag.Function(function, 1), ag.Stream(given, "t"), order=2)
    exact = [value(0.0), slope(0.0), jax.jvp(slope, (0.0,), (1.0,))[1] / 2]
    return result.coefficients, jnp.stack(exact, axis=-1)


@functools.cache
def common():
    """The same for all of them, by one program."""
    return jax.jit(lambda: {name: series_and_derivatives(JNP[name]) for name in JNP})()


@pytest.mark.parametrize("name", JNP)
def test_common_functions_have_the_series_of_nested_derivatives(name):
    result, exact = common()[name]
    np.testing.assert_allclose(result, exact, rtol=1e-12, atol=1e-12)


def test_a_primitive_without_a_rule_is_named():
    circuit = ag.Function(lambda x: jax.scipy.special.zeta(x, 1.0), 1)
    with pytest.raises(ag.CircuitError, match="'zeta' has no series rule"):
        ag.series(circuit, ag.Stream([1.5, 1.0], "t"), order=2)
    # Of a constant it needs none.
    constant = ag.series(ag.Const(4.0) >> circuit >> ag.Register("t"), order=1)
    np.testing.assert_allclose(constant.coefficients, [0.0, scipy.special.zeta(4)], rtol=1e-14)


SINGULAR = [
    (ag.Log(), [0.0, 1.0]),
    (ag.Sqrt(), [0.0, 1.0]),
    (ag.Power(0.5), [0.0, 1.0]),
    (ag.Power(-1), [0.0, 1.0]),
    (ag.Arcsin(), [1.0, 1.0]),
    (ag.Arcsin(), [2.0, 1.0]),
    (ag.Log(), [-1.0, 1.0]),
    (ag.Exp(), [1000.0, 1.0]),
    (ag.Exp(), [math.nan, 1.0]),
    (ag.Tanh(), [math.nan, 1.0]),
    (ag.Scalar(math.inf), [0.0, 1.0]),
]


@pytest.mark.parametrize(("circuit", "given"), SINGULAR, ids=lambda case: str(case))
def test_where_a_function_has_no_series_the_coefficients_say_so(circuit, given):
    result = ag.series(circuit, ag.Stream(given, "t"), order=3).coefficients
    assert not jnp.isfinite(result[:2]).all()


@pytest.mark.parametrize(
    ("circuit", "at", "limit"),
    [(ag.Sigmoid(), 800.0, 1.0), (ag.Tanh(), -800.0, -1.0), (ag.Erf(), 800.0, 1.0)],
    ids=str,
)
def test_saturated_functions_are_constant(circuit, at, limit):
    result = ag.series(circuit, ag.Stream([at, 1.0], "t"), order=3).coefficients
    assert result.tolist() == [limit, 0.0, 0.0, 0.0]


def test_complex_values():
    result = ag.series(ag.Exp(), ag.Stream([0.0, 1j], "t"), order=4).coefficients
    exact = [1j**n / math.factorial(n) for n in range(5)]
    np.testing.assert_allclose(result, exact, rtol=1e-15)
