"""Series of JAX's functions against mpmath, in both dtypes, and where a careless rule fails."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from helpers import cast, equations, neighbour_error, polynomial, slow, taylor
from jax import lax
from jax.scipy import special

import asgard as ag

ORDER = 14
DTYPES = [jnp.float64, slow(jnp.float32)]

# Inner series, of numbers that both dtypes hold: of one sign, of the other, past one, of a vector.
HALF, MINUS, TWO = [0.625, 0.5, -0.25], [-0.75, 0.25, 0.5], [1.75, -0.5, 0.125]
VECTOR = [[0.75, 0.5, -0.25], [-0.5, 0.25, 0.125], [1.25, -0.375, 0.5], [0.25, 0.5, 0.75]]
FACTORS = [1.0, -0.5, 0.75, 0.25]


def expand(cases, dtype, order=ORDER, unroll=False):
    """The series of many functions, each of its own input, in one compilation."""
    names = list(cases)
    streams = [cast(ag.Stream(cases[name][2], "t"), dtype) for name in names]

    def run(*xs):
        return tuple(cases[name][0](x) for name, x in zip(names, xs, strict=True))

    circuit = ag.Function(run, len(names), len(names))
    results = ag.series(circuit, *streams, order=order, unroll=unroll)
    return {name: r.coefficients for name, r in zip(names, results, strict=True)}


def exact(function, inner, order=ORDER):
    """Taylor coefficients at 0 by forward differences, whose step and digits make them exact."""
    with mp.workdps(25 * (order + 2)):
        step = mp.mpf(10) ** -25

        def at(t):
            nested = isinstance(inner[0], list)
            return function(
                [polynomial(row, t) for row in inner] if nested else polynomial(inner, t)
            )

        differences, found = [at(k * step) for k in range(order + 1)], []
        for n in range(order + 1):
            coefficient = differences[0] / (step**n * mp.factorial(n))
            found.append(mp.chop(coefficient, 1e-18))  # a zero, but for rounding
            differences = [b - a for a, b in itertools.pairwise(differences)]
    return found


def check(got, expected, dtype):
    assert got.dtype == dtype
    assert neighbour_error(got, expected) < 128 * float(jnp.finfo(dtype).eps)


def sigmoid(u):
    return 1 / (1 + mp.exp(-u))


def weigh(values):
    return sum(f * v for f, v in zip(FACTORS, values, strict=False))


def weighted(fn):
    """A function of a vector with its outputs weighed into one, so that each of them counts."""
    return lambda u: jnp.sum(fn(u) * jnp.asarray(FACTORS, u.dtype))


ELEMENTARY = {
    "exp": (jnp.exp, mp.exp, HALF),
    "exp2": (jnp.exp2, lambda u: mp.mpf(2) ** u, HALF),
    "expm1": (jnp.expm1, mp.expm1, HALF),
    "log": (jnp.log, mp.log, TWO),
    "log2": (jnp.log2, lambda u: mp.log(u, 2), TWO),
    "log10": (jnp.log10, mp.log10, TWO),
    "log1p": (jnp.log1p, mp.log1p, HALF),
    "sin": (jnp.sin, mp.sin, HALF),
    "cos": (jnp.cos, mp.cos, HALF),
    "tan": (jnp.tan, mp.tan, HALF),
    "arcsin": (jnp.arcsin, mp.asin, HALF),
    "arccos": (jnp.arccos, mp.acos, MINUS),
    "arctan": (jnp.arctan, mp.atan, TWO),
    "sinh": (jnp.sinh, mp.sinh, TWO),
    "cosh": (jnp.cosh, mp.cosh, MINUS),
    "tanh": (jnp.tanh, mp.tanh, TWO),
    "tanh, far out": (jnp.tanh, mp.tanh, [-5.5, 0.5, 0.25]),
    "arcsinh": (jnp.arcsinh, mp.asinh, HALF),
    "arccosh": (jnp.arccosh, mp.acosh, TWO),
    "arctanh": (jnp.arctanh, mp.atanh, MINUS),
    "erf": (special.erf, mp.erf, HALF),
    "erfc": (special.erfc, mp.erfc, TWO),
    "erfinv": (special.erfinv, mp.erfinv, HALF),
    "sigmoid": (jax.nn.sigmoid, sigmoid, TWO),
    "sqrt": (jnp.sqrt, mp.sqrt, TWO),
    "rsqrt": (lax.rsqrt, lambda u: 1 / mp.sqrt(u), TWO),
    "cbrt": (jnp.cbrt, mp.cbrt, TWO),
    "square": (jnp.square, lambda u: u * u, MINUS),
    "reciprocal": (jnp.reciprocal, lambda u: 1 / u, MINUS),
    "sinc": (jnp.sinc, lambda u: mp.sin(mp.pi * u) / (mp.pi * u), TWO),
    "lgamma": (special.gammaln, mp.loggamma, TWO),
    "digamma": (special.digamma, mp.digamma, HALF),
    "dawsn": (
        special.dawsn,
        lambda u: mp.sqrt(mp.pi) / 2 * mp.exp(-u * u) * mp.erfi(u),
        HALF,
    ),
    "power 7": (lambda u: u**7, lambda u: u**7, MINUS),
    "power -3": (lambda u: u**-3, lambda u: u**-3, MINUS),
    "power 1.75": (lambda u: u**1.75, lambda u: u ** mp.mpf(1.75), TWO),
    "power 20.5": (lambda u: u**20.5, lambda u: u ** mp.mpf(20.5), TWO),
    "power -1.5": (lambda u: u**-1.5, lambda u: u ** mp.mpf(-1.5), TWO),
    "power u": (lambda u: u ** jnp.sin(u), lambda u: u ** mp.sin(u), TWO),
    "power of 3": (lambda u: 3**u, lambda u: 3**u, MINUS),
    "quotient": (lambda u: jnp.sin(u) / (1 + u * u), lambda u: mp.sin(u) / (1 + u * u), HALF),
    "abs": (jnp.abs, lambda u: -u, MINUS),
    "sign": (lambda u: jnp.sign(u) * u, lambda u: -u, MINUS),
    "floor": (lambda u: u - jnp.floor(u), lambda u: u - 1, TWO),
    "rem": (lambda u: u % 0.5, lambda u: u - mp.mpf(1.5), TWO),
    "rem u": (lambda u: lax.rem(jnp.asarray(2.5, u.dtype), u), lambda u: 2.5 - u, TWO),
    "clip": (lambda u: jnp.clip(u * u, u, 8.0), lambda u: u * u, TWO),
    "clamp by series": (
        lambda u: lax.clamp(jnp.asarray(0.5, u.dtype), u, u * u),
        lambda u: u * u,
        HALF,
    ),
    "where": (lambda u: jnp.where(u > 1, u * u, jnp.sin(u)), lambda u: u * u, TWO),
    "arctan2": (lambda u: jnp.arctan2(u, u * u - 4), lambda u: mp.atan2(u, u * u - 4), TWO),
    "arctan2, steep": (lambda u: jnp.arctan2(-u, u * u), lambda u: mp.atan2(-u, u * u), HALF),
    "hypot": (lambda u: jnp.hypot(u, 2.0), lambda u: mp.sqrt(u * u + 4), MINUS),
    "logaddexp": (lambda u: jnp.logaddexp(u, 1.0), lambda u: mp.log(mp.exp(u) + mp.e), MINUS),
    "xlogy": (lambda u: special.xlogy(u, 1 + u), lambda u: u * mp.log(1 + u), TWO),
    "relu": (jax.nn.relu, lambda u: u, HALF),
    "leaky_relu": (jax.nn.leaky_relu, lambda u: u * mp.mpf("0.01"), MINUS),
    "elu": (jax.nn.elu, mp.expm1, MINUS),
    "softplus": (jax.nn.softplus, lambda u: mp.log1p(mp.exp(u)), MINUS),
    "silu": (jax.nn.silu, lambda u: u * sigmoid(u), MINUS),
    "gelu": (lambda u: jax.nn.gelu(u, approximate=False), lambda u: u * mp.ncdf(u), HALF),
    "polyval": (
        lambda u: jnp.polyval(jnp.asarray([1.0, -2.0, 0.5], u.dtype), u),
        lambda u: u * u - 2 * u + 0.5,
        MINUS,
    ),
    "interp": (
        lambda u: jnp.interp(u, jnp.arange(3, dtype=u.dtype), jnp.arange(3, dtype=u.dtype) ** 2),
        lambda u: 3 * u - 2,
        TWO,
    ),
}


def fourier(u, k):
    return sum(v * mp.expjpi(-mp.mpf(k * j) / 2) for j, v in enumerate(u))


def softmax(u):
    total = sum(map(mp.exp, u))
    return [mp.exp(v) / total for v in u]


def running(u, operation):
    found = u[:1]
    for value in u[1:]:
        found.append(operation(found[-1], value))
    return found


VECTORS = {
    "sum": (lambda u: jnp.sum(u * u), lambda u: sum(v * v for v in u), VECTOR),
    "prod": (jnp.prod, mp.fprod, VECTOR),
    "max": (jnp.max, lambda u: u[2], VECTOR),
    "min": (jnp.min, lambda u: u[1], VECTOR),
    "cumsum": (weighted(jnp.cumsum), lambda u: weigh(running(u, mp.fadd)), VECTOR),
    "cumprod": (weighted(jnp.cumprod), lambda u: weigh(running(u, mp.fmul)), VECTOR),
    "cummax": (weighted(lax.cummax), lambda u: weigh(running(u, max)), VECTOR),
    "cummin": (
        weighted(lambda u: lax.cummin(u, reverse=True)),
        lambda u: weigh(running(u[::-1], min)[::-1]),
        VECTOR,
    ),
    "cumlogsumexp": (
        weighted(lax.cumlogsumexp),
        lambda u: weigh(map(mp.log, running([mp.exp(v) for v in u], mp.fadd))),
        VECTOR,
    ),
    "logsumexp": (special.logsumexp, lambda u: mp.log(sum(map(mp.exp, u))), VECTOR),
    "softmax": (weighted(jax.nn.softmax), lambda u: weigh(softmax(u)), VECTOR),
    "norm": (jnp.linalg.norm, lambda u: mp.sqrt(sum(v * v for v in u)), VECTOR),
    "sort": (weighted(jnp.sort), lambda u: weigh([u[1], u[3], u[0], u[2]]), VECTOR),
    "sort by key": (
        weighted(lambda u: lax.sort_key_val(jnp.sin(u), u * u)[1]),
        lambda u: weigh([u[i] * u[i] for i in (1, 3, 0, 2)]),
        VECTOR,
    ),
    "argsort": (
        weighted(lambda u: u[jnp.argsort(-u)]),
        lambda u: weigh([u[2], u[0], u[3], u[1]]),
        VECTOR,
    ),
    "median": (jnp.median, lambda u: (u[0] + u[3]) / 2, VECTOR),
    "top_k": (lambda u: lax.top_k(u, 2)[0][1], lambda u: u[0], VECTOR),
    "max pool": (
        lambda u: jnp.prod(lax.reduce_window(u, -jnp.inf, lax.max, (2,), (2,), "VALID")),
        lambda u: u[0] * u[2],
        VECTOR,
    ),
    "argmax": (lambda u: u[jnp.argmax(u)] * u[0], lambda u: u[2] * u[0], VECTOR),
    "roll": (weighted(lambda u: jnp.roll(u, 1)), lambda u: weigh([u[3], *u[:3]]), VECTOR),
    "dot": (lambda u: u @ jnp.sin(u), lambda u: sum(v * mp.sin(v) for v in u), VECTOR),
    "einsum": (
        lambda u: jnp.einsum("i,j,ij->", u, u, jnp.outer(u, jnp.cos(u))),
        lambda u: sum(v * v for v in u) * sum(v * mp.cos(v) for v in u),
        VECTOR,
    ),
    "convolve": (
        lambda u: jnp.convolve(u, jnp.exp(u), mode="valid")[0],
        lambda u: sum(v * mp.exp(w) for v, w in zip(u, u[::-1], strict=True)),
        VECTOR,
    ),
    "fft": (lambda u: jnp.fft.fft(u)[1].imag, lambda u: fourier(u, 1).imag, VECTOR),
    "rfft": (lambda u: jnp.abs(jnp.fft.rfft(u)[1]), lambda u: abs(fourier(u, 1)), VECTOR),
    "dynamic slice": (
        lambda u: jnp.sum(lax.dynamic_slice(u * u, (jnp.int32(jnp.floor(u[2])),), (2,))),
        lambda u: u[1] ** 2 + u[2] ** 2,
        VECTOR,
    ),
    "scatter": (
        lambda u: jnp.sum(u.at[jnp.array([0, 0, 1])].add(u[1:] * u[:3]) ** 2),
        lambda u: (
            (u[0] + u[0] * u[1] + u[1] * u[2]) ** 2
            + (u[1] + u[2] * u[3]) ** 2
            + u[2] ** 2
            + u[3] ** 2
        ),
        VECTOR,
    ),
    "scattered operations": (
        lambda u: weighted(lambda v: v)(u.at[0].multiply(u[1]).at[1].max(u[2]).at[2].set(u[3])),
        lambda u: weigh([u[0] * u[1], u[2], u[3], u[3]]),
        VECTOR,
    ),
}
CASES = {**ELEMENTARY, **VECTORS}


@functools.cache
def expanded(dtype):
    return expand(CASES, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_functions_have_the_series_that_mpmath_gives(name, dtype):
    check(expanded(dtype)[name], exact(*CASES[name][1:]), dtype)


FEW = ("exp", "arccosh", "tanh", "erfinv", "power 1.75", "arctan2", "cumprod", "sort", "einsum")


@pytest.fixture(scope="module")
def unrolled():
    return expand({name: CASES[name] for name in FEW}, jnp.float64, order=8, unroll=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
def test_functions_have_the_same_series_unrolled(name, unrolled):
    check(unrolled[name], exact(*CASES[name][1:], order=8), jnp.float64)


# Complex numbers


def complex_parts(fn):
    """The real and the imaginary part of a function of u + i/2, weighed."""

    def run(u):
        value = fn(u + 0.5j)
        return value.real - value.imag / 2

    return run


COMPLEX = {
    "exp": (jnp.exp, mp.exp),
    "log": (jnp.log, mp.log),
    "sqrt": (jnp.sqrt, mp.sqrt),
    "tanh": (jnp.tanh, mp.tanh),
    "quotient": (lambda z: jnp.cos(z) / z, lambda z: mp.cos(z) / z),
    "power": (lambda z: z**3 + z**-0.5, lambda z: z**3 + 1 / mp.sqrt(z)),
    "arccosh": (lambda z: jnp.arccosh(z + 1), lambda z: mp.acosh(z + 1)),
    "conjugate": (lambda z: z.conj() * jnp.exp(z), lambda z: mp.conj(z) * mp.exp(z)),
    "abs": (jnp.abs, abs),
    "angle": (jnp.angle, mp.arg),
    "sign": (jnp.sign, mp.sign),
}


@functools.cache
def complex_series(dtype):
    cases = {name: (complex_parts(fn), None, HALF) for name, (fn, _) in COMPLEX.items()}
    return expand(cases, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COMPLEX)
def test_functions_of_complex_numbers(name, dtype):
    def weighed(u):
        value = mp.mpc(COMPLEX[name][1](mp.mpc(u, 0.5)))
        return value.real - value.imag / 2

    check(complex_series(dtype)[name], exact(weighed, HALF), dtype)


# Where a careless rule fails

LINE = ag.Stream([0.0, 1.0], "t")


def at_zero(fn, order=6):
    return ag.series(ag.Function(fn, 1), LINE, order=order).coefficients


def test_natural_powers_hold_at_zero():
    for power in (3, 3.0, np.float64(3.0)):
        assert at_zero(lambda u, p=power: u**p).tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert at_zero(lambda u: u**0.0).tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert at_zero(lambda u: jnp.prod(jnp.stack([u, u, 2.0]))).tolist() == [0, 0, 2, 0, 0, 0, 0]


def test_functions_with_a_removable_singularity_hold_there():
    got = at_zero(jnp.sinc)
    expected = taylor(lambda t: mp.sincpi(t), 6)
    assert neighbour_error(got, expected) < 1e-15
    log = math.log(2)
    assert at_zero(lambda u: special.xlogy(u, 2.0)).tolist() == [0, log, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "fn",
    [
        jnp.sqrt,
        jnp.cbrt,
        jnp.log,
        jnp.reciprocal,
        lambda u: u**1.5,
        lambda u: u**-2,
        lambda u: jnp.linalg.norm(jnp.stack([u, u])),
        lambda u: jnp.arcsin(1 + u),
    ],
    ids=["sqrt", "cbrt", "log", "reciprocal", "u^1.5", "u^-2", "norm", "arcsin at 1"],
)
def test_functions_without_a_series_at_a_point_give_what_is_not_finite(fn):
    assert not jnp.isfinite(at_zero(fn)).all()


def test_exponents_that_are_numbers_of_the_circuit_want_a_base_that_is_not_zero():
    assert jnp.isnan(ag.series(ag.Power(2.0), LINE, order=3).coefficients).any()
    ahead = ag.Stream([1.0, 1.0], "t")
    assert ag.series(ag.Power(2.0), ahead, order=3).coefficients.tolist() == [1, 2, 1, 0]


def test_branches_are_those_of_order_0():
    assert at_zero(jnp.abs).tolist() == [0, 1, 0, 0, 0, 0, 0]
    # Of two that are equal there, the first.
    assert at_zero(lambda u: jnp.maximum(-u, u)).tolist() == [0, -1, 0, 0, 0, 0, 0]


# What costs nothing twice


def updates(fn):
    """How many histories a scan over orders keeps."""
    run = equations(lambda: ag.series(ag.Function(fn, 1), LINE, order=8).coefficients)
    return run.count("dynamic_update_slice")


def test_equal_expressions_have_one_series():
    assert updates(lambda u: jnp.sin(u) * jnp.cos(u)) == updates(jnp.sin)
    assert updates(lambda u: jnp.cosh(u) * jnp.sinh(u)) == updates(jnp.sinh)
    assert updates(lambda u: jnp.exp(2 * u) * jnp.exp(2 * u)) == updates(lambda u: jnp.exp(2 * u))


def test_sine_and_cosine_share_one_recurrence_and_are_right():
    got = at_zero(lambda u: 2 * jnp.cos(u) + jnp.sin(u), order=10)
    series = [[2, 1, -2, -1][n % 4] / math.factorial(n) for n in range(11)]
    np.testing.assert_allclose(got, series, rtol=1e-15)


# Errors


def test_a_primitive_without_a_rule_is_named_with_what_to_do():
    def incomplete(u):
        return special.gammainc(2.0, u)

    with pytest.raises(ag.CircuitError) as raised:
        ag.series(ag.Function(incomplete, 1), LINE, order=3)
    named = (
        "'igamma'",
        "operand 2 of 2",
        "other jnp functions",
        "rules.add_rule",
        "taylor/rules/table.py",
    )
    for part in named:
        assert part in str(raised.value)


def test_what_takes_a_number_apart_into_bits_is_refused():
    with pytest.raises(ag.CircuitError, match="changes the bits of a number"):
        at_zero(lambda u: jnp.frexp(1 + u)[0])
    assert at_zero(lambda u: jnp.copysign(1 + u, -1.0), order=1).tolist() == [-1, -1]
    assert at_zero(lambda u: jnp.where(jnp.signbit(u - 1), u, 0), order=1).tolist() == [0, 1]


def test_complex_numbers_have_no_order():
    with pytest.raises(ag.CircuitError, match="'max' of a complex function"):
        at_zero(lambda u: jnp.maximum(u + 1j, 1j).real)
