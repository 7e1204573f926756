"""Lynx and hare: the Lotka-Volterra system fitted to the Hudson's Bay Company's pelt records.

Hares x and lynxes y, in thousands of pelts a year, from 1900 to 1920:

    x' = x (a - b y)        hares breed, and are eaten
    y' = y (d x - c)        lynxes breed by what they eat, and die

A register is an integral, and a trace feeds both populations back to where their slopes are made.
The four rates and the two populations at the start are fitted by least squares of logarithms, from
a rough start. `data/lynx_hare.csv` has the records.

    python examples/lynx_hare.py [--output lynx_hare.png]
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import asgard as ag

RECORDS = Path(__file__).parent / "data" / "lynx_hare.csv"
ROUGH = {"a": 1.0, "b": 0.05, "c": 1.0, "d": 0.05, "x0": 30.0, "y0": 4.0}
SAVED_A_YEAR = 20
# Far closer than records are counted, and a fraction of the work of machine precision.
CALCULUS = ag.Real(order=12, rtol=1e-8, max_steps=256)

Number = jax.Array | float


class LotkaVolterra(ag.Block):
    """Prey and predator in two loops that meet in their products. No inputs, two outputs."""

    a: Number  # birth rate of hares
    b: Number  # death rate of hares for each thousand lynxes
    c: Number  # death rate of lynxes
    d: Number  # birth rate of lynxes for each thousand hares
    x0: Number  # hares at the start
    y0: Number  # lynxes at the start

    def circuit(self) -> ag.Circuit:
        hare_rate = ag.Const(self.a) @ ag.Scalar(-self.b) >> ag.Add()  # lynx to a - b lynx
        lynx_rate = ag.Const(-self.c) @ ag.Scalar(self.d) >> ag.Add()  # hare to d hare - c
        slopes = (
            ag.Split() @ ag.Split()  # hare, hare, lynx, lynx
            >> ag.Permute((0, 2, 3, 1))  # hare, lynx, lynx, hare
            >> ag.Id() @ hare_rate @ ag.Id() @ lynx_rate
            >> ag.Multiplication() @ ag.Multiplication()
        )
        hare = ag.Register("t", self.x0) >> ag.Var("hare")
        lynx = ag.Register("t", self.y0) >> ag.Var("lynx")
        # Each population goes out, and back to where its slope is made.
        back = ag.Split() @ ag.Split() >> ag.Permute((0, 2, 1, 3))
        return (slopes >> hare @ lynx >> back).trace(2)


def logarithms(circuit: ag.Circuit, ts: jax.Array) -> jax.Array:
    """The logarithms of both populations, [species, times]."""
    return jnp.log(jnp.stack(ag.simulate(circuit, ts, calculus=CALCULUS).outputs))


def residuals(circuit: ag.Circuit, ts: jax.Array, records: jax.Array) -> jax.Array:
    """How far the circuit is from the records, on the scale of logarithms."""
    return logarithms(circuit, ts) - jnp.log(records)


def fitted(ts: jax.Array, records: jax.Array) -> ag.Fit:
    """The fit from the rough start."""
    start: dict[str, Any] = {name: ag.Positive(number) for name, number in ROUGH.items()}
    return ag.fit_residuals(LotkaVolterra(**start), residuals, args=(ts, records), steps=50)


def band(circuit: ag.Circuit, ts: jax.Array, covariance: jax.Array) -> jax.Array:
    """The standard error of the logarithms, [species, times], by that of the numbers."""
    slopes = jnp.stack(list(ag.sensitivities(circuit, logarithms, args=(ts,)).values()))
    return jnp.sqrt(jnp.einsum("pst,pq,qst->st", slopes, covariance, slopes))


def main(argv: Sequence[str] | None = None) -> int:
    """Fits, prints the numbers with their errors and the times it took, and draws the picture."""
    parser = argparse.ArgumentParser(description="Lynx and hare: Lotka-Volterra fitted to records.")
    parser.add_argument("--output", type=Path, default=Path("lynx_hare.png"), metavar="PATH")
    output = parser.parse_args(argv).output

    years, *species = np.loadtxt(RECORDS, delimiter=",", skiprows=1, unpack=True)
    ts, records = jnp.asarray(years), jnp.stack(species)
    try:
        fit, first = timed(lambda: fitted(ts, records))
    except ImportError as error:
        print(error, file=sys.stderr)
        return 1
    fit, later = timed(lambda: fitted(ts, records))
    found = ag.uncertainty(fit.circuit, residuals, args=(ts, records))
    errors = np.sqrt(np.asarray(fit.losses[: int(fit.steps)]) / records.size)

    print(f"Lotka-Volterra, {years[0]:.0f} to {years[-1]:.0f}, in thousands of pelts")
    print("  number      start      fitted   standard error")
    for name, start in ROUGH.items():
        value = float(ag.parameters(fit.circuit)[name])
        print(f"  {name:2}   {start:12.5g}{value:12.5g}{float(found[name]):12.2g}")
    print(f"  root mean square error of logarithms  {errors[0]:.6f} at the start")
    print(f"                                        {errors[-1]:.6f} fitted")
    print(f"  evaluations                   {int(fit.steps):8d}")
    print(f"  first fit, with compilation   {first:8.2f} s")
    print(f"  later fit                     {1e3 * later:8.2f} ms")

    dense = jnp.linspace(years[0], years[-1], SAVED_A_YEAR * (len(years) - 1) + 1)
    middle, spread = logarithms(fit.circuit, dense), band(fit.circuit, dense, found.covariance)
    lines = np.exp([middle, middle - 2 * spread, middle + 2 * spread])
    draw(years, species, dense, lines, errors, output)
    return 0


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """What a run gives, and the seconds that it took."""
    begin = time.perf_counter()
    result = jax.block_until_ready(run())
    return result, time.perf_counter() - begin


def draw(
    years: np.ndarray,
    records: Sequence[np.ndarray],
    ts: jax.Array,
    lines: np.ndarray,
    errors: np.ndarray,
    output: Path,
) -> None:
    """Records as points, the fit as lines with bands of two standard errors; the fit's course."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("  no picture: it needs matplotlib (pip install matplotlib)", file=sys.stderr)
        return
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    axes, course = figure.subplots(1, 2, width_ratios=(3.2, 1))
    # Blue and vermilion of Okabe and Ito's palette, which colour-blind readers tell apart.
    looks = (("Hare", "#0072B2", "o"), ("Lynx", "#D55E00", "s"))
    for place, ((label, color, marker), record) in enumerate(zip(looks, records, strict=True)):
        line, low, high = lines[:, place]
        axes.fill_between(ts, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(ts, line, color=color, linewidth=1.8, label=f"{label}, fitted")
        axes.plot(years, record, marker, color=color, markersize=6, label=f"{label}, recorded")
    title = "Canada lynx and snowshoe hare in the Hudson’s Bay Company’s records"
    axes.set_title(title, loc="left", fontweight="bold", fontsize=11)
    axes.set_xlabel("Year")
    axes.set_ylabel("Pelts traded (thousands a year)")
    axes.set_xlim(years[0] - 0.4, years[-1] + 0.4)
    axes.set_ylim(bottom=0)
    axes.set_xticks(years[::4])
    course.semilogy(errors, color="0.25", marker=".")
    course.set_title("The fit’s course", loc="left", fontweight="bold", fontsize=11)
    course.set_xlabel("Evaluation")
    course.set_ylabel("Root mean square error of logarithms")
    for panel in (axes, course):
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", color="0.9")
        panel.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(output, dpi=140)
    print(f"  picture                       {output}")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    sys.exit(main())
