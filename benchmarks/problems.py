"""The initial value problems of the benchmarks, each given once, with what is known of its end.

Rates are expressions of the state's entries, which JAX, heyoka and plain floats all read; wide
systems are functions of a vector, with `xp` for `jax.numpy` or `numpy`. Ends of stiff problems come
from the Test Set for IVP Solvers (Mazzia and Magherini, University of Bari, release 2.4), or are
computed as their comments say; `python benchmarks/problems.py` compares all of them with SciPy's
Radau at 1e-11 and the explicit ones with heyoka. Ends of the explicit problems come from heyoka in
200 bits (`peers.exact`) when they are asked for.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import peers
import scipy.integrate
import scipy.sparse


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """y' = f(t, y) from y(0) = start to t = end.

    `known` is y(end), None where heyoka finds it. `floors` are the magnitudes below which an entry
    of the state is of no interest: errors are |error| / max(|y|, floor), and so are tolerances.
    `band` is the number of diagonals beside the main one on either side, None for dense Jacobians.
    """

    name: str
    start: tuple[float, ...]
    end: float
    rates: Callable[..., Sequence[Any]] | None = None
    wide: Callable[[Any, Any], Any] | None = None
    known: tuple[float, ...] | None = None
    floors: tuple[float, ...] | float = 0.0
    band: int | None = None

    def field(self, y: Any) -> Any:
        """f of a vector, in JAX."""
        if self.wide is not None:
            return self.wide(jnp, y)
        assert self.rates is not None
        return jnp.stack(self.rates(*(y[i] for i in range(len(self.start)))))

    def field_of_floats(self, t: float, y: np.ndarray) -> Any:
        """The same as SciPy calls it, in NumPy or floats."""
        if self.wide is not None:
            return self.wide(np, y)
        assert self.rates is not None
        return self.rates(*y.tolist())

    @functools.cached_property
    def exact(self) -> np.ndarray:
        """y(end)."""
        if self.known is not None:
            return np.array(self.known)
        if self.rates is None:
            return self._by_scipy()
        return peers.exact(self.rates, self.start, [self.end])[0]

    @property
    def pattern(self) -> Any:
        """Where the Jacobian of a banded problem may differ from zero."""
        assert self.band is not None
        row, column = np.indices((len(self.start), len(self.start)))
        return scipy.sparse.csr_array((np.abs(row - column) <= self.band).astype(float))

    def _by_scipy(self) -> np.ndarray:
        """y(end) by SciPy's Radau at a tolerance of 1e-12."""
        found = scipy.integrate.solve_ivp(
            self.field_of_floats,
            (0.0, self.end),
            self.start,
            method="Radau",
            rtol=1e-12,
            atol=1e-12,
            t_eval=[self.end],
            jac_sparsity=self.pattern,
        )
        return found.y[:, -1]

    def error(self, found: Any) -> float:
        """The largest error of an end, relative to its entry; of explicit problems to the largest.

        Infinite where it is not finite.
        """
        floors = self.floors if self.known is not None else np.max(np.abs(self.exact))
        scale = np.maximum(np.abs(self.exact), floors)
        error = float(np.max(np.abs(np.asarray(found) - self.exact) / scale))
        return error if math.isfinite(error) else math.inf


# Stiff problems.


def robertson(x: Any, y: Any, z: Any) -> list[Any]:
    """Three reactions at speeds that are eleven orders of magnitude apart."""
    slow, back, fast = 0.04 * x, 1e4 * y * z, 3e7 * y * y
    return [back - slow, slow - back - fast, fast]


def van_der_pol(mu: float) -> peers.Rates:
    """x'' = mu (1 - x^2) x' - x."""
    return lambda x, v: [v, mu * (1.0 - x * x) * v - x]


def hires(*y: Any) -> list[Any]:
    """High irradiance response of a plant: eight reactants."""
    a, b, c, d, e, f, g, h = y
    meet = 280.0 * f * h
    return [
        0.43 * b + 8.32 * c + 0.0007 - 1.71 * a,
        1.71 * a - 8.75 * b,
        0.43 * d + 0.035 * e - 10.03 * c,
        8.32 * b + 1.71 * c - 1.12 * d,
        0.43 * f + 0.43 * g - 1.745 * e,
        0.69 * d + 1.71 * e + 0.69 * g - 0.43 * f - meet,
        meet - 1.81 * g,
        1.81 * g - meet,
    ]


def oregonator(x: Any, y: Any, z: Any) -> list[Any]:
    """The Belousov-Zhabotinskii reaction."""
    return [
        77.27 * (y + x * (1.0 - 8.375e-6 * x - y)),
        (z - (1.0 + x) * y) / 77.27,
        0.161 * (x - z),
    ]


def pyrolysis(a: Any, b: Any, c: Any, d: Any) -> list[Any]:
    """E5 of the stiff DETEST."""
    slow, first, second = 7.89e-10 * a, 1.1e7 * a * c, 1.13e9 * b * c
    back = 1.13e3 * d
    return [-1.0 * slow - first, slow - second, slow - first + back - second, first - back]


def pollution(*y: Any) -> list[Any]:
    """25 reactions of 20 pollutants of air (Verwer 1994)."""
    r1, r2, r3, r4, r5 = (
        0.35 * y[0],
        26.6 * y[1] * y[3],
        12300.0 * y[4] * y[1],
        8.6e-4 * y[6],
        (8.2e-4 * y[6]),
    )
    r6, r7, r8 = 15000.0 * y[6] * y[5], 1.3e-4 * y[8], 24000.0 * y[8] * y[5]
    r9, r10, r11 = 16500.0 * y[10] * y[1], 9000.0 * y[10] * y[0], 0.022 * y[12]
    r12, r13, r14 = 12000.0 * y[9] * y[1], 1.88 * y[13], 16300.0 * y[0] * y[5]
    r15, r16, r17 = 4.8e6 * y[2], 3.5e-4 * y[3], 0.0175 * y[3]
    r18, r19, r20 = 1e8 * y[15], 4.44e11 * y[15], 1240.0 * y[16] * y[5]
    r21, r22, r23 = 2.1 * y[18], 5.78 * y[18], 0.0474 * y[0] * y[3]
    r24, r25 = 1780.0 * y[18] * y[0], 3.12 * y[19]
    return [
        r2 + r3 + r9 + r11 + r12 + r22 + r25 - r1 - r10 - r14 - r23 - r24,
        r1 + r21 - r2 - r3 - r9 - r12,
        r1 + r17 + r19 + r22 - r15,
        r15 - r2 - r16 - r17 - r23,
        2.0 * r4 + r6 + r7 + r13 + r20 - r3,
        r3 + 2.0 * r18 - r6 - r8 - r14 - r20,
        r13 - r4 - r5 - r6,
        r4 + r5 + r6 + r7,
        -1.0 * r7 - r8,
        r7 + r9 - r12,
        r8 + r11 - r9 - r10,
        1.0 * r9,
        r10 - r11,
        r12 - r13,
        1.0 * r14,
        r16 - r18 - r19,
        -1.0 * r20,
        1.0 * r20,
        r23 + r25 - r21 - r22 - r24,
        r24 - r25,
    ]


POLLUTION_START = (
    *(0.0, 0.2, 0.0, 0.04, 0.0, 0.0, 0.1, 0.3, 0.01, 0.0),
    *(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.007, 0.0, 0.0, 0.0),
)
POLLUTION_END = (
    *(0.5646255480022769e-1, 0.1342484130422339, 0.4139734331099427e-8, 0.5523140207484359e-2),
    *(0.2018977262302196e-6, 0.1464541863493966e-6, 0.7784249118997964e-1, 0.3245075353396018),
    *(0.7494013383880406e-2, 0.1622293157301561e-7, 0.1135863833257075e-7, 0.2230505975721359e-2),
    *(0.2087162882798630e-3, 0.1396921016840158e-4, 0.8964884856898295e-2, 0.4352846369330103e-17),
    *(0.6899219696263405e-2, 0.1007803037365946e-3, 0.1772146513969984e-5, 0.5682943292316392e-4),
)

STIFF = (
    Problem(
        "Robertson",
        (1.0, 0.0, 0.0),
        1e11,
        robertson,
        known=(0.2083340149701255e-7, 0.8333360770334713e-13, 0.9999999791665050),
    ),
    Problem(
        "van der Pol, mu = 1000",
        (2.0, 0.0),
        2000.0,
        van_der_pol(1000.0),
        known=(0.1706167732170483e1, -0.8928097010247975e-3),
    ),
    Problem(
        "HIRES",
        (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0057),
        321.8122,
        hires,
        known=(
            *(0.7371312573325668e-3, 0.1442485726316185e-3, 0.5888729740967575e-4),
            *(0.1175651343283149e-2, 0.2386356198831331e-2, 0.6238968252742796e-2),
            *(0.2849998395185769e-2, 0.2850001604814231e-2),
        ),
    ),
    Problem(
        "Oregonator",
        (1.0, 2.0, 3.0),
        360.0,
        oregonator,
        known=(0.1000814870318523e1, 0.1228178521549917e4, 0.1320554942846706e3),
    ),
    Problem(
        "E5",
        (1.76e-3, 0.0, 0.0, 0.0),
        1000.0,
        pyrolysis,
        # By heyoka with 30 digits, as in `tests/calculi/real/detest.json`.
        known=(
            *(0.0016180769999072943, 1.3822370304983736e-10),
            *(8.251573500683834e-12, 1.2997212954915352e-10),
        ),
    ),
    Problem("POLLU", POLLUTION_START, 60.0, pollution, known=POLLUTION_END, floors=1e-20),
)

# Wide stiff problems.

BRUSSELATOR_POINTS = 500


def brusselator(xp: Any, y: Any) -> Any:
    """The Brusselator with diffusion (Hairer and Wanner II, IV.10), u and v in turn along x."""
    u, v = y[0::2], y[1::2]
    diffusion = 0.02 * (BRUSSELATOR_POINTS + 1) ** 2
    around_u, around_v = xp.pad(u, 1, constant_values=1.0), xp.pad(v, 1, constant_values=3.0)
    meet = u * u * v
    rate_u = 1.0 + meet - 4.0 * u + diffusion * (around_u[:-2] - 2.0 * u + around_u[2:])
    rate_v = 3.0 * u - meet + diffusion * (around_v[:-2] - 2.0 * v + around_v[2:])
    return xp.stack([rate_u, rate_v], axis=1).reshape(-1)


def _brusselator_start() -> tuple[float, ...]:
    x = np.arange(1, BRUSSELATOR_POINTS + 1) / (BRUSSELATOR_POINTS + 1)
    u = 1.0 + 0.5 * np.sin(2.0 * np.pi * x)
    return tuple(np.stack([u, np.full_like(u, 3.0)], axis=1).reshape(-1).tolist())


HEAT_POINTS, HEAT_END = 1000, 0.1


def heat(xp: Any, y: Any) -> Any:
    """u_t = u_xx by lines, u = 0 at both ends."""
    around = xp.pad(y, 1)
    return (HEAT_POINTS + 1) ** 2 * (around[:-2] - 2.0 * y + around[2:])


def _heat_start() -> np.ndarray:
    x = np.arange(1, HEAT_POINTS + 1) / (HEAT_POINTS + 1)
    return x * (1.0 - x) * np.exp(3.0 * x)


def _heat_end() -> np.ndarray:
    """The exact end of the lines, by the eigenvectors of the second difference, which are sines."""
    number = np.arange(1, HEAT_POINTS + 1)
    sines = np.sin(np.pi * np.outer(number, number) / (HEAT_POINTS + 1))
    decays = -4.0 * (HEAT_POINTS + 1) ** 2 * np.sin(np.pi * number / 2 / (HEAT_POINTS + 1)) ** 2
    parts = 2.0 / (HEAT_POINTS + 1) * (sines @ _heat_start())
    return sines @ (np.exp(decays * HEAT_END) * parts)


WIDE = (
    Problem(
        "Brusselator, 500 points", _brusselator_start(), 10.0, wide=brusselator, floors=1e-3, band=2
    ),
    Problem(
        "heat, 1,000 points",
        tuple(_heat_start().tolist()),
        HEAT_END,
        wide=heat,
        known=tuple(_heat_end().tolist()),
        floors=1e-3,
        band=1,
    ),
)

# Explicit problems.


def lotka_volterra(x: Any, y: Any) -> list[Any]:
    """Hare and lynx."""
    return [0.55 * x - 0.028 * x * y, -0.8 * y + 0.024 * x * y]


def lorenz(x: Any, y: Any, z: Any) -> list[Any]:
    """Lorenz's equations with his numbers."""
    return [10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z]


MOON = 0.012277471  # its share of the mass of earth and moon


def arenstorf(x: Any, y: Any, u: Any, v: Any) -> list[Any]:
    """A satellite between earth and moon, in the frame that turns with them."""
    earth = (1 - MOON) * ((x + MOON) ** 2 + y * y) ** -1.5
    moon = MOON * ((x - (1 - MOON)) ** 2 + y * y) ** -1.5
    pull = (x + MOON) * earth + (x - (1 - MOON)) * moon
    return [u, v, x + 2.0 * v - pull, y - 2.0 * u - y * (earth + moon)]


def kepler(x: Any, y: Any, u: Any, v: Any) -> list[Any]:
    """x'' = -x / |x|^3 in the plane."""
    pull = (x * x + y * y) ** -1.5
    return [u, v, -1.0 * x * pull, -1.0 * y * pull]


ECCENTRICITY = 0.9
EXPLICIT = (
    Problem("Lotka-Volterra", (34.0, 5.9), 100.0, lotka_volterra),
    Problem("Lorenz", (1.0, 1.0, 1.0), 20.0, lorenz),
    Problem("van der Pol, mu = 5", (2.0, 0.0), 20.0, van_der_pol(5.0)),
    Problem(
        "Arenstorf",
        (0.994, 0.0, 0.0, -2.00158510637908252240537862224),
        17.0652165601579625588917206249,
        arenstorf,
    ),
    Problem(
        "Kepler, e = 0.9",
        (1 - ECCENTRICITY, 0.0, 0.0, math.sqrt((1 + ECCENTRICITY) / (1 - ECCENTRICITY))),
        6 * math.pi,
        kepler,
    ),
)

FORCING = 8.0


def lorenz_96(size: int, end: float = 2.0) -> Problem:
    """x_i' = (x_(i+1) - x_(i-2)) x_(i-1) - x_i + F on a ring."""

    def rates(*x: Any) -> list[Any]:
        return [(x[(i + 1) % size] - x[i - 2]) * x[i - 1] - x[i] + FORCING for i in range(size)]

    def wide(xp: Any, x: Any) -> Any:
        return (xp.roll(x, -1) - xp.roll(x, 2)) * xp.roll(x, 1) - x + FORCING

    start = tuple((FORCING + np.sin(np.arange(size))).tolist())
    return Problem(f"Lorenz-96 of {size}", start, end, rates, wide)
