"""The problems of DETEST, and of its sister for stiff equations.

Hull, Enright, Fellen and Sedgwick, *Comparing numerical methods for ordinary differential
equations*, SIAM Journal on Numerical Analysis 9, 1972; Enright, Hull and Lindberg, *Comparing
numerical methods for stiff systems of O.D.E:s*, BIT 15, 1975. Both are given once more by Enright
and Pryce, *Two FORTRAN packages for assessing initial value methods*, ACM TOMS 13, 1987.

The solutions in `detest.json` have all digits of a float. They come from heyoka's Taylor method
with the precision of 30 digits (of 18 for the stiff D6, which takes millions of explicit steps):

```bash
pip install -e .[bench]
python tests/calculi/real/detest.py  # writes detest.json beside itself; some minutes
```
"""

import dataclasses
import functools
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SOLUTIONS = Path(__file__).with_name("detest.json")

# Takes a module with exp, sin, cos and sqrt, the time and the state; gives the rates. JAX and
# heyoka both read it.
Rates = Callable[[Any, Any, Sequence[Any]], list[Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """y' = rates(m, t, y) from y(0) = start to t = end."""

    name: str
    stiff: bool
    rates: Rates
    start: tuple[float, ...]
    end: float

    @property
    def times(self) -> np.ndarray:
        """Where the solution is known: 0, and ten times; near 0 too where that is fast."""
        if self.stiff:
            return np.array([0.0, *(self.end * 10.0**power for power in range(-9, 1))])
        return np.linspace(0.0, self.end, 11)

    @functools.cached_property
    def solution(self) -> np.ndarray:
        """y at `times`, `[times, state]`."""
        kind = "stiff" if self.stiff else "nonstiff"
        return np.array(json.loads(SOLUTIONS.read_text())[kind][self.name])


PROBLEMS: list[Problem] = []


def problem(
    name: str, start: Sequence[float], end: float = 20.0, stiff: bool = False
) -> Callable[[Rates], Rates]:
    """Adds rates to `PROBLEMS`."""

    def add(rates: Rates) -> Rates:
        PROBLEMS.append(Problem(name, stiff, rates, tuple(start), end))
        return rates

    return add


stiff_problem = functools.partial(problem, stiff=True)


# Class A: one equation.


@problem("A1", [1.0])
def _(m, t, y):
    return [-1.0 * y[0]]


@problem("A2", [1.0])
def _(m, t, y):
    return [-0.5 * y[0] * y[0] * y[0]]


@problem("A3", [1.0])
def _(m, t, y):
    return [y[0] * m.cos(t)]


@problem("A4", [1.0])
def _(m, t, y):
    return [y[0] / 4.0 * (1.0 - y[0] / 20.0)]


@problem("A5", [4.0])
def _(m, t, y):
    return [(y[0] - t) / (y[0] + t)]


# Class B: small systems.


@problem("B1", [1.0, 3.0])
def _(m, t, y):
    return [2.0 * (y[0] - y[0] * y[1]), -1.0 * (y[1] - y[0] * y[1])]


@problem("B2", [2.0, 0.0, 1.0])
def _(m, t, y):
    return [y[1] - y[0], y[0] - 2.0 * y[1] + y[2], y[1] - y[2]]


@problem("B3", [1.0, 0.0, 0.0])
def _(m, t, y):
    return [-1.0 * y[0], y[0] - y[1] * y[1], y[1] * y[1]]


@problem("B4", [3.0, 0.0, 0.0])
def _(m, t, y):
    radius = m.sqrt(y[0] * y[0] + y[1] * y[1])
    return [
        -1.0 * y[1] - y[0] * y[2] / radius,
        y[0] - y[1] * y[2] / radius,
        y[0] / radius,
    ]


@problem("B5", [0.0, 1.0, 1.0])
def _(m, t, y):
    return [y[1] * y[2], -1.0 * y[0] * y[2], -0.51 * y[0] * y[1]]


# Class C: moderate systems.


@problem("C1", [1.0] + [0.0] * 9)
def _(m, t, y):
    return [-1.0 * y[0], *(y[i - 1] - y[i] for i in range(1, 9)), y[8]]


@problem("C2", [1.0] + [0.0] * 9)
def _(m, t, y):
    return [-1.0 * y[0], *(i * y[i - 1] - (i + 1.0) * y[i] for i in range(1, 9)), 9.0 * y[8]]


def _diffusion(m, t, y):
    inner = [y[i - 1] - 2.0 * y[i] + y[i + 1] for i in range(1, len(y) - 1)]
    return [y[1] - 2.0 * y[0], *inner, y[-2] - 2.0 * y[-1]]


problem("C3", [1.0] + [0.0] * 9)(_diffusion)
problem("C4", [1.0] + [0.0] * 50)(_diffusion)

GRAVITY = 2.95912208286
SUN = 1.00000597682  # with the inner planets
PLANETS = (
    0.000954786104043,
    0.000285583733151,
    0.0000437273164546,
    0.0000517759138449,
    0.00000277777777778,
)
# Each coordinate of the five, then the next one.
POSITIONS = (
    (3.42947415189, 6.64145542550, 11.2630437207, -30.1552268759, -21.1238353380),
    (3.35386959711, 5.97156957878, 14.6952576794, 1.65699966404, 28.4465098142),
    (1.35494901715, 2.18231499728, 6.27960525067, 1.43785752721, 15.3882659679),
)
VELOCITIES = (
    (-0.557160570446, -0.415570776342, -0.325325669158, -0.0240476254170, -0.176860753121),
    (0.505696783289, 0.365682722812, 0.189706021964, -0.287659532608, -0.216393453025),
    (0.230578543901, 0.169143213293, 0.087726532278, -0.117219543175, -0.0148647893090),
)


@problem("C5", [number for rows in (POSITIONS, VELOCITIES) for row in rows for number in row])
def _(m, t, y):
    """The five outer planets about the sun."""
    # Of each planet, its coordinates.
    position = [[y[5 * axis + planet] for axis in range(3)] for planet in range(5)]

    def pull(to: list[Any], of: list[Any]) -> list[Any]:
        """By how much a unit mass at `to` pulls what is at `of`."""
        apart = [a - b for a, b in zip(to, of, strict=True)]
        square = apart[0] * apart[0] + apart[1] * apart[1] + apart[2] * apart[2]
        factor = 1.0 / (square * m.sqrt(square))
        return [number * factor for number in apart]

    to_sun = [pull([0.0, 0.0, 0.0], own) for own in position]
    rates = []
    for j, own in enumerate(position):
        total = [(SUN + PLANETS[j]) * number for number in to_sun[j]]
        for k, other in enumerate(position):
            if k != j:
                # The sun, where the axes begin, is pulled as well.
                near = pull(other, own)
                total = [
                    have + PLANETS[k] * (direct + indirect)
                    for have, direct, indirect in zip(total, near, to_sun[k], strict=True)
                ]
        rates.append([GRAVITY * number for number in total])
    return [*y[15:], *(rates[planet][axis] for axis in range(3) for planet in range(5))]


# Class D: an orbit, of eccentricity 0.1 to 0.9.


def _orbit(m, t, y):
    square = y[0] * y[0] + y[1] * y[1]
    pull = 1.0 / (square * m.sqrt(square))
    return [y[2], y[3], -1.0 * y[0] * pull, -1.0 * y[1] * pull]


for _name, _eccentricity in (("D1", 0.1), ("D2", 0.3), ("D3", 0.5), ("D4", 0.7), ("D5", 0.9)):
    _speed = math.sqrt((1 + _eccentricity) / (1 - _eccentricity))
    problem(_name, [1 - _eccentricity, 0.0, 0.0, _speed])(_orbit)


# Class E: equations of second order.


@problem("E1", [0.6713967071418030, 0.09540051444747446])
def _(m, t, y):
    """Bessel's equation of order 1/2."""
    x = t + 1.0
    return [y[1], -1.0 * (y[1] / x + (1.0 - 0.25 / (x * x)) * y[0])]


@problem("E2", [2.0, 0.0])
def _(m, t, y):
    return [y[1], (1.0 - y[0] * y[0]) * y[1] - y[0]]


@problem("E3", [0.0, 0.0])
def _(m, t, y):
    return [y[1], y[0] * y[0] * y[0] / 6.0 - y[0] + 2.0 * m.sin(2.78535 * t)]


@problem("E4", [30.0, 0.0])
def _(m, t, y):
    return [y[1], 0.032 - 0.4 * y[1] * y[1]]


@problem("E5", [0.0, 0.0])
def _(m, t, y):
    return [y[1], m.sqrt(1.0 + y[1] * y[1]) / (25.0 - t)]


# Stiff class A: linear, with real eigenvalues.


@stiff_problem("A1", [1.0] * 4)
def _(m, t, y):
    return [-0.5 * y[0], -1.0 * y[1], -100.0 * y[2], -90.0 * y[3]]


@stiff_problem("A2", [0.0] * 9, 120.0)
def _(m, t, y):
    inner = [y[i - 1] - 2.0 * y[i] + y[i + 1] for i in range(1, 8)]
    return [900.0 * y[1] - 1800.0 * y[0], *inner, 1000.0 * y[7] - 2000.0 * y[8] + 1000.0]


@stiff_problem("A3", [1.0] * 4)
def _(m, t, y):
    return [
        -1e4 * y[0] + 100.0 * y[1] - 10.0 * y[2] + y[3],
        -1e3 * y[1] + 10.0 * y[2] - 10.0 * y[3],
        10.0 * y[3] - y[2],
        -0.1 * y[3],
    ]


@stiff_problem("A4", [1.0] * 10, 1.0)
def _(m, t, y):
    return [-((i + 1.0) ** 5) * y[i] for i in range(10)]


# Stiff class B: linear, with complex eigenvalues.


@stiff_problem("B1", [1.0, 0.0, 1.0, 0.0])
def _(m, t, y):
    return [
        y[1] - y[0],
        -100.0 * y[0] - y[1],
        y[3] - 100.0 * y[2],
        -10_000.0 * y[2] - 100.0 * y[3],
    ]


def _turning(speed: float) -> Rates:
    def rates(m, t, y):
        return [
            speed * y[1] - 10.0 * y[0],
            -speed * y[0] - 10.0 * y[1],
            -4.0 * y[2],
            -1.0 * y[3],
            -0.5 * y[4],
            -0.1 * y[5],
        ]

    return rates


for _name, _number in (("B2", 3.0), ("B3", 8.0), ("B4", 25.0), ("B5", 100.0)):
    stiff_problem(_name, [1.0] * 6)(_turning(_number))


# Stiff class C: nonlinear couplings.


@stiff_problem("C1", [1.0] * 4)
def _(m, t, y):
    fourth, third = y[3] * y[3], y[2] * y[2]
    return [
        y[1] * y[1] + third + fourth - y[0],
        10.0 * (third + fourth) - 10.0 * y[1],
        40.0 * fourth - 40.0 * y[2],
        2.0 - 100.0 * y[3],
    ]


def _coupled(strength: float) -> Rates:
    def rates(m, t, y):
        first, second, third = (y[i] * y[i] for i in range(3))
        return [
            2.0 - y[0],
            strength * first - 10.0 * y[1],
            4.0 * strength * (first + second) - 40.0 * y[2],
            10.0 * strength * (first + second + third) - 100.0 * y[3],
        ]

    return rates


for _name, _number in (("C2", 0.1), ("C3", 1.0), ("C4", 10.0), ("C5", 20.0)):
    stiff_problem(_name, [1.0] * 4)(_coupled(_number))


# Stiff class D: nonlinear, with real eigenvalues.


@stiff_problem("D1", [0.0] * 3, 400.0)
def _(m, t, y):
    return [
        0.2 * (y[1] - y[0]),
        10.0 * y[0] - (60.0 - 0.125 * y[2]) * y[1] + 0.125 * y[2],
        1.0 + 0.0 * y[2],
    ]


@stiff_problem("D2", [1.0, 0.0, 0.0], 40.0)
def _(m, t, y):
    """Robertson's reactions, scaled."""
    return [
        -0.04 * y[0] + 0.01 * y[1] * y[2],
        400.0 * y[0] - 100.0 * y[1] * y[2] - 3000.0 * y[1] * y[1],
        30.0 * y[1] * y[1],
    ]


@stiff_problem("D3", [1.0, 1.0, 0.0, 0.0])
def _(m, t, y):
    meet, pair = 100.0 * y[0] * y[1], 1e4 * y[1] * y[1]
    return [
        y[2] - meet,
        y[2] + 2.0 * y[3] - meet - 2.0 * pair,
        meet - y[2],
        pair - y[3],
    ]


@stiff_problem("D4", [1.0, 1.0, 0.0], 50.0)
def _(m, t, y):
    first, second = 0.013 * y[0] + 1000.0 * y[0] * y[2], 2500.0 * y[1] * y[2]
    return [-1.0 * first, -1.0 * second, -1.0 * first - second]


@stiff_problem("D5", [0.0, 0.0], 100.0)
def _(m, t, y):
    both = 0.01 + y[0] + y[1]
    return [
        0.01 - (1.0 + (y[0] + 1000.0) * (y[0] + 1.0)) * both,
        0.01 - (1.0 + y[1] * y[1]) * both,
    ]


@stiff_problem("D6", [1.0, 0.0, 0.0], 1.0)
def _(m, t, y):
    first = 1e8 * y[2] * (1.0 - y[0]) - y[0]
    second = 3e7 * y[2] * (1.0 - y[1]) - 10.0 * y[1]
    return [first, second, -1.0 * first - second]


# Stiff class E: nonlinear, with complex eigenvalues.


@stiff_problem("E1", [0.0] * 4, 1.0)
def _(m, t, y):
    square, rate = y[0] * y[0], 100.0
    return [
        y[1],
        y[2],
        y[3],
        (square - m.sin(y[0]) - rate**4) * y[0]
        + (y[1] * y[2] / (square + 1.0) - 4.0 * rate**3) * y[1]
        + (1.0 - 6.0 * rate**2) * y[2]
        + (10.0 * m.exp(-1.0 * y[3] * y[3]) - 4.0 * rate) * y[3]
        + 1.0,
    ]


@stiff_problem("E2", [2.0, 0.0], 1.0)
def _(m, t, y):
    return [y[1], 5.0 * (1.0 - y[0] * y[0]) * y[1] - y[0]]


@stiff_problem("E3", [1.0, 1.0, 0.0], 500.0)
def _(m, t, y):
    return [65.0 * y[1] - (55.0 + y[2]) * y[0], 0.0785 * (y[0] - y[1]), 0.1 * y[0]]


@stiff_problem("E4", [0.0, -2.0, -1.0, -1.0], 1000.0)
def _(m, t, y):
    """Four equations that decouple as z = U y, of which the first two are one complex one."""
    total = 0.5 * (y[0] + y[1] + y[2] + y[3])
    a, b, c, d = (total - number for number in y)
    rates = [
        10.0 * a + 10.0 * b + 0.5 * (a * a - b * b),
        10.0 * b - 10.0 * a + a * b,
        c * c - 1000.0 * c,
        d * d - 0.01 * d,
    ]
    total = 0.5 * (rates[0] + rates[1] + rates[2] + rates[3])
    return [total - rate for rate in rates]


@stiff_problem("E5", [1.76e-3, 0.0, 0.0, 0.0], 1000.0)
def _(m, t, y):
    """Pyrolysis."""
    slow, first, second = 7.89e-10 * y[0], 1.1e7 * y[0] * y[2], 1.13e9 * y[1] * y[2]
    back = 1.13e3 * y[3]
    return [-1.0 * slow - first, slow - second, slow - first + back - second, first - back]


def solve(one: Problem) -> np.ndarray:
    """The solution at the problem's times, by heyoka; rounded once at the end."""
    import heyoka as hy

    symbols = hy.make_vars(*(f"y{i}" for i in range(len(one.start))))
    symbols = symbols if isinstance(symbols, list) else [symbols]
    equations = list(zip(symbols, one.rates(hy, hy.time, symbols), strict=True))
    long = one.stiff and one.name == "D6"
    number = np.longdouble if long else (lambda given: hy.real(float(given), 113))
    options: dict[str, Any] = {"fp_type": np.longdouble} if long else {"fp_type": hy.real}
    if not long:
        options["prec"] = 113
    state = np.array([number(given) for given in one.start])
    integrator = hy.taylor_adaptive(equations, state, compact_mode=True, **options)
    found = [list(one.start)]
    for time in one.times[1:]:
        outcome, *_ = integrator.propagate_until(number(time))
        assert outcome == hy.taylor_outcome.time_limit, (one.name, outcome)
        found.append([float(str(value)) for value in integrator.state])
    return np.array(found)


def main() -> None:
    """Writes the solutions."""
    solutions: dict[str, Any] = {"nonstiff": {}, "stiff": {}}
    for one in PROBLEMS:
        kind = "stiff" if one.stiff else "nonstiff"
        print(kind, one.name, file=sys.stderr, flush=True)
        solutions[kind][one.name] = solve(one).tolist()
    SOLUTIONS.write_text(json.dumps(solutions) + "\n")


if __name__ == "__main__":
    main()
