"""Special functions to order 48 against mpmath: what approximates a value must not be expanded."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from helpers import neighbour_error
from jax.scipy import special

import asgard as ag

ORDER = 48

# The function, the reference, and points with a radius on which the reference is analytic.
CASES = {
    "sinc": (jnp.sinc, mp.sincpi, [(0.0, 8), (0.1, 8), (0.5, 8), (2.3, 8), (40.0, 8)]),
    "digamma": (special.digamma, mp.digamma, [(0.7, 0.35), (14.0, 7), (20.0, 10), (-3.4, 0.2)]),
    "lgamma": (special.gammaln, mp.loggamma, [(0.7, 0.35), (20.0, 10)]),
    "i0": (jnp.i0, lambda x: mp.besseli(0, x), [(0.0, 8), (-2.0, 8), (80.0, 8)]),
    "i0e": (
        special.i0e,
        lambda x: mp.exp(-x) * mp.besseli(0, x),
        [(0.1, 8), (60.0, 8), (300.0, 30)],
    ),
    "i1e": (
        special.i1e,
        lambda x: mp.exp(-x) * mp.besseli(1, x),
        [(0.1, 8), (60.0, 8), (300.0, 30)],
    ),
    "j0": (lambda x: special.bessel_jn(x, v=3)[0], mp.j0, [(0.0, 8), (1.0, 8), (20.0, 8)]),
    "j3": (
        lambda x: special.bessel_jn(x, v=3)[3],
        lambda x: mp.besselj(3, x),
        [(1.0, 8), (20.0, 8)],
    ),
    "erfcx": (special.erfcx, lambda x: mp.exp(x * x) * mp.erfc(x), [(0.3, 1), (-1.0, 1)]),
    "log_ndtr": (
        special.log_ndtr,
        lambda x: mp.log(mp.erfc(-x / mp.sqrt(2)) / 2),
        [(0.25, 1), (2.0, 1)],
    ),
    "expi": (special.expi, mp.ei, [(0.5, 0.25), (2.0, 1)]),
    "si": (lambda x: special.sici(x)[0], mp.si, [(0.0, 8), (0.3, 8), (7.0, 8)]),
    "ci": (lambda x: special.sici(x)[1], mp.ci, [(0.5, 0.25), (7.0, 3.5)]),
    "polyval": (  # the primitive `polynomial` in jax 0.12
        lambda x: jnp.polyval(jnp.arange(1.0, 13.0), x),
        lambda x: sum(k * x ** (12 - k) for k in range(1, 13)),
        [(0.0, 1), (-0.5, 1)],
    ),
}


def exact(fn, center, radius):
    """Taylor coefficients by Cauchy's integral, with digits to spare."""
    count = 2 * ORDER
    with mp.workdps(120):
        roots = [mp.expjpi(mp.mpf(2 * k) / count) for k in range(count)]
        values = [fn(mp.mpf(center) + mp.mpf(radius) * root) for root in roots]
        sums = [
            sum(v * roots[-n * k % count] for k, v in enumerate(values)).real / count
            for n in range(ORDER + 1)
        ]
        return [mp.chop(one, 1e-100) / mp.mpf(radius) ** n for n, one in enumerate(sums)]


@pytest.fixture(scope="module")
def expanded():
    """The coefficients of every function at all of its points, [point, order]."""
    lines = {
        name: ag.Stream(np.array([[point, 1.0] for point, _ in points]), "t")
        for name, (_, _, points) in CASES.items()
    }

    def run(*xs):
        return tuple(CASES[name][0](x) for name, x in zip(lines, xs, strict=True))

    circuit = ag.Function(run, len(CASES), len(CASES))
    results = ag.series(circuit, *lines.values(), order=ORDER)
    return {name: one.coefficients for name, one in zip(lines, results, strict=True)}


@pytest.mark.parametrize("name", CASES)
def test_special_functions_are_right_at_high_orders(name, expanded):
    _, reference, points = CASES[name]
    for got, (point, radius) in zip(expanded[name], points, strict=True):
        assert neighbour_error(got, exact(reference, point, radius)) < 1e-12, point


def test_bessel_functions_of_whole_order_begin_as_powers_at_zero():
    got = ag.taylor.expand(
        lambda x: special.bessel_jn(x, v=2), ag.Stream([0.0, 1.0, 0.0, 0.0], "t")
    )
    expected = [[1, 0, -0.25, 0], [0, 0.5, 0, -0.0625], [0, 0, 0.125, 0]]
    np.testing.assert_allclose(got.coefficients, expected, atol=1e-15)


def test_functions_that_jax_only_approximates_are_refused():
    for fn in (lambda x: special.hyp1f1(1.0, 2.0, x), lambda x: special.hyp2f1(1.0, 2.0, 3.0, x)):
        with pytest.raises(ag.CircuitError, match=r"'hyp\df1' has no series rule"):
            ag.taylor.expand(fn, ag.Stream([0.25, 1.0], "t"))


def test_order_0_is_the_value_that_jax_gives():
    points = jnp.array([0.5, 3.0])
    for fn in (jnp.sinc, special.i1, special.erfcx, lambda x: special.bessel_jn(x, v=2)[1]):
        got = ag.taylor.expand(fn, ag.Stream(points[:, None], "t")).coefficients[:, 0]
        np.testing.assert_allclose(got, jax.jit(fn)(points), rtol=1e-14)
