"""The outer solar system over 10,000 years at machine precision, against heyoka and diffrax.

The Sun (with the inner planets), Jupiter, Saturn, Uranus, Neptune and Pluto, with the data of
Hairer, Lubich and Wanner, *Geometric Numerical Integration*, section I.2.4: astronomical units,
days, solar masses. Ours is a circuit of one vector wire; heyoka takes its own n-body model at its
default tolerance; diffrax Dopri8 at rtol = atol = 1e-14, over fewer years. Errors are against
heyoka in quadruple precision, 34 digits.

An integrator that rounds without bias has an energy error that goes like a random walk: its
root mean square over runs grows as the root of the time (Brouwer's law). Truncation adds a drift.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import heyoka as hy
import jax
import jax.numpy as jnp
import numpy as np
import peers
import timing
from jax import Array

import asgard as ag

GRAVITY = 2.95912208286e-4
MASSES = np.array(
    [
        1.00000597682,
        0.000954786104043,
        0.000285583733151,
        0.0000437273164546,
        0.0000517759138449,
        1 / 1.3e8,
    ]
)
PLACES = [
    [0.0, 0.0, 0.0],
    [-3.5023653, -3.8169847, -1.5507963],
    [9.0755314, -3.0458353, -1.6483708],
    [8.3101420, -16.2901086, -7.2521278],
    [11.4707666, -25.7294829, -10.8169456],
    [-15.5387357, -25.2225594, -3.1902382],
]
SPEEDS = [
    [0.0, 0.0, 0.0],
    [0.00565429, -0.00412490, -0.00190589],
    [0.00168318, 0.00483525, 0.00192462],
    [0.00354178, 0.00137102, 0.00055029],
    [0.00288930, 0.00114527, 0.00039677],
    [0.00276725, -0.00170702, -0.00136504],
]
START = np.array([*PLACES, *SPEEDS]).ravel()  # [36]: places, then speeds
BODIES = len(MASSES)
YEAR = 365.25
YEARS, DIFFRAX_YEARS = 10_000, 500
TOLERANCE = 1e-14  # diffrax
SAVED, RUNS = 1000, 16  # for the energy
# The default; the same with its orders written out.
OURS = {
    "ours": ag.Real(),
    "ours, unrolled": ag.Real(method=ag.Taylor(unroll=True)),
}
FIRST, SECOND = np.triu_indices(BODIES, 1)  # the pairs


def _between_pairs_and_bodies() -> tuple[np.ndarray, np.ndarray]:
    """From places to differences of pairs, `[45, 18]`, and from pulls to accelerations."""
    pairs = np.arange(len(FIRST))
    differences = np.zeros((len(pairs), BODIES))
    differences[pairs, SECOND], differences[pairs, FIRST] = 1, -1
    pulls = np.zeros((BODIES, len(pairs)))
    pulls[FIRST, pairs], pulls[SECOND, pairs] = MASSES[SECOND], -MASSES[FIRST]
    return np.kron(differences, np.eye(3)), np.kron(GRAVITY * pulls, np.eye(3))


MODEL = hy.model.nbody(BODIES, masses=MASSES.tolist(), Gconst=GRAVITY)
DIFFERENCES, PULLS = _between_pairs_and_bodies()

Run = Callable[[], Any]


def field(state: Array) -> Array:
    """Speeds and accelerations."""
    places, speeds = state[: 3 * BODIES], state[3 * BODIES :]
    apart = (DIFFERENCES @ places).reshape(-1, 3)
    cubes = jnp.sum(apart * apart, axis=1) ** -1.5
    return jnp.concatenate([speeds, PULLS @ (cubes[:, None] * apart).ravel()])


def ours(
    years: float, saved: int = 1, calculus: ag.Real | None = None
) -> Callable[[Array], tuple[Array, Array]]:
    """The start to the states at evenly spaced times after it, and the steps."""
    times = np.linspace(0.0, years * YEAR, saved + 1)

    def run(start: Array) -> tuple[Array, Array]:
        circuit = (ag.Function(field, 1) >> ag.Register("t", start) >> ag.Split()).trace()
        found = ag.simulate(circuit, times, calculus=calculus or ag.Real())
        return found.output[1:], found.stats["steps"]

    return run


def by_heyoka(years: float, quadruple: bool = False) -> Callable[[], tuple[np.ndarray, int]]:
    """The state at the end by heyoka, and the steps."""
    number = hy.real128 if quadruple else float
    begin = np.array([number(x) for x in by_bodies(START)])
    options = {"fp_type": number} if quadruple else {}
    integrator = hy.taylor_adaptive(MODEL, begin, compact_mode=quadruple, **options)

    def run() -> tuple[np.ndarray, int]:
        integrator.time = number(0.0)
        integrator.state[:] = begin
        _, _, _, steps, *_ = integrator.propagate_until(number(years * YEAR))
        return by_kinds(integrator.state.astype(float)), steps

    return run


def saved_by_heyoka() -> Callable[[np.ndarray], np.ndarray]:
    """A start to the states for the energy, by dense output: steps as long as without it."""
    integrator = hy.taylor_adaptive(MODEL, np.zeros(6 * BODIES))
    times = np.linspace(0.0, YEARS * YEAR, SAVED + 1)

    def run(start: np.ndarray) -> np.ndarray:
        integrator.time = 0.0
        integrator.state[:] = by_bodies(start)
        return by_kinds(integrator.propagate_grid(times)[5][1:])

    return run


def by_bodies(state: np.ndarray) -> np.ndarray:
    """A state in the order of heyoka's model: place and speed of one body after another."""
    return state.reshape(2, BODIES, 3).swapaxes(0, 1).ravel()


def by_kinds(states: np.ndarray) -> np.ndarray:
    """Back to our order: all places, then all speeds."""
    ordered = states.reshape(*states.shape[:-1], BODIES, 2, 3).swapaxes(-3, -2)
    return ordered.reshape(states.shape)


def energy(states: np.ndarray) -> np.ndarray:
    """The energy of each state, in extended precision."""
    wide = np.asarray(states).astype(np.longdouble).reshape(-1, 2, BODIES, 3)
    places, speeds = wide[:, 0], wide[:, 1]
    total = (MASSES * (speeds**2).sum(axis=-1)).sum(axis=-1) / 2
    for i in range(BODIES):
        for j in range(i):
            distance = np.sqrt(((places[:, i] - places[:, j]) ** 2).sum(axis=-1))
            total -= GRAVITY * MASSES[i] * MASSES[j] / distance
    return total


def energy_errors(run: Callable[[np.ndarray], Any]) -> np.ndarray:
    """How far the energy is from that at the start, relative to it, `[run, saved]`."""
    random = np.random.default_rng(0)
    errors = []
    for _ in range(RUNS):
        start = START * (1 + 1e-6 * random.normal(size=START.size))
        first = energy(start)
        errors.append((energy(run(start)) - first) / first)
    return np.array(errors).astype(float)


def compare() -> tuple[list[list[str]], dict[str, float]]:
    """Rows of the table of runs, and the seconds a year of each."""
    start = jnp.asarray(START)
    made = {name: peers.compiled(ours(YEARS, calculus=one)) for name, one in OURS.items()}
    diffrax_run = peers.compiled(
        peers.in_diffrax(field, diffrax.Dopri8(), TOLERANCE, DIFFRAX_YEARS * YEAR, first_step=10.0)
    )
    runs: dict[str, tuple[Run, int]] = {
        name: (lambda run=run: run(start), YEARS) for name, run in made.items()
    }
    runs["heyoka"] = by_heyoka(YEARS), YEARS
    runs["diffrax"] = lambda: diffrax_run(start), DIFFRAX_YEARS
    first = timing.timed(runs["ours"][0])
    times = timing.interleaved({name: run for name, (run, _) in runs.items()}, rounds=5)
    exact = by_heyoka(DIFFRAX_YEARS, quadruple=True)()[0]
    ends = {
        name: peers.compiled(ours(DIFFRAX_YEARS, calculus=one))(start)[0][-1]
        for name, one in OURS.items()
    }
    ends |= {"heyoka": by_heyoka(DIFFRAX_YEARS)()[0], "diffrax": runs["diffrax"][0]()[0]}
    per_year = {name: times[name] / years for name, (_, years) in runs.items()}
    rows = []
    for name, (run, years) in runs.items():
        steps = int(run()[1])
        places = (np.asarray(ends[name]) - exact)[: 3 * BODIES]
        rows.append(
            [
                name,
                f"{years:,}",
                f"{steps:,}",
                f"{np.max(np.abs(places)):.0e}",
                timing.duration(times[name]),
                timing.duration(times[name] / steps),
                timing.duration(per_year[name]),
                f"{per_year[name] / per_year['ours']:.2f}",
            ]
        )
    print(f"Our first run, with its compilation: {timing.duration(first)}.\n")
    return rows, per_year


def main() -> None:
    """Prints the tables and the ratios."""
    print(f"{timing.setting()}, {peers.versions('diffrax', 'heyoka')}", end="\n\n")
    rows, per_year = compare()
    header = ["", "years", "steps", f"error after {DIFFRAX_YEARS} years (au)", "run", "a step"]
    print(timing.table([*header, "a year", "times ours"], rows), end="\n\n")
    found = {}
    for name, calculus in OURS.items():
        run = peers.compiled(ours(YEARS, SAVED, calculus))
        found[name] = energy_errors(lambda start, run=run: run(start)[0])
    found["heyoka"] = energy_errors(saved_by_heyoka())
    years = np.linspace(0.0, YEARS, SAVED + 1)[1:]
    rows = []
    for name, errors in found.items():
        sizes = np.sqrt(np.mean(errors**2, axis=0))
        late = years >= YEARS / 100  # before that the rounding of a single energy is seen
        power = timing.exponent(years[late].tolist(), sizes[late].tolist())
        at = [f"{sizes[SAVED // part - 1]:.1e}" for part in (100, 10, 1)]
        rows.append([name, *at, f"{np.mean(errors[:, -1]):+.1e}", f"{power:.2f}"])
    header = [f"energy error, {RUNS} runs", *(f"rms at {YEARS // n:,}" for n in (100, 10, 1))]
    header += [f"mean at {YEARS:,}", "grows as the time to the power"]
    print(timing.table(header, rows), end="\n\n")
    unrolled = per_year["ours, unrolled"] / per_year["heyoka"]
    print(f"Ours takes {per_year['ours'] / per_year['heyoka']:.1f} times heyoka's time,")
    print(f"{unrolled:.1f} times unrolled, and is")
    print(f"{per_year['diffrax'] / per_year['ours']:.1f} times faster than diffrax.")
    print("Energy error: a random walk has the power 0.5, a drift has 1.")


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
