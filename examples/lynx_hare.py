"""Lynx and hare: the Lotka-Volterra system against the Hudson's Bay Company's pelt records.

Hares x and lynxes y, in thousands of pelts a year, from 1900 to 1920:

    x' = x (a - b y)        hares breed, and are eaten
    y' = y (d x - c)        lynxes breed by what they eat, and die

A register is an integral, and a trace feeds both populations back to where their slopes are made.
The parameters and initial values are those that B. Carpenter published in "Predator-Prey Population
Dynamics" (Stan case study, 2018); `data/lynx_hare.csv` has the records.

    python examples/lynx_hare.py [--output lynx_hare.png]
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import asgard as ag

RECORDS = Path(__file__).parent / "data" / "lynx_hare.csv"
SAVED_A_YEAR = 50

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


def main(argv: Sequence[str] | None = None) -> int:
    """Simulates, prints the errors and the times it took, and draws the picture."""
    parser = argparse.ArgumentParser(description="Lynx and hare: Lotka-Volterra against records.")
    parser.add_argument("--output", type=Path, default=Path("lynx_hare.png"), metavar="PATH")
    output = parser.parse_args(argv).output

    years, *records = np.loadtxt(RECORDS, delimiter=",", skiprows=1, unpack=True)
    circuit = LotkaVolterra(a=0.545, b=0.028, c=0.803, d=0.024, x0=33.96, y0=5.93)
    ts = jnp.linspace(years[0], years[-1], SAVED_A_YEAR * (len(years) - 1) + 1)

    trajectory, first = timed(circuit, ts)
    trajectory, later = timed(circuit, ts)

    print(f"Lotka-Volterra, {years[0]:.0f} to {years[-1]:.0f}, in thousands of pelts")
    for name, record in zip(("hare", "lynx"), records, strict=True):
        error = np.asarray(trajectory[name])[::SAVED_A_YEAR] - record
        print(f"  root mean square error, {name}  {np.sqrt(np.mean(error**2)):8.2f}")
    print(f"  Taylor steps taken            {int(trajectory.stats['steps']):8d}")
    print(f"  times saved                   {len(ts):8d}")
    print(f"  first call, with compilation  {first:8.2f} s")
    print(f"  later call                    {1e3 * later:8.2f} ms")
    draw(years, records, trajectory, output)
    return 0


def timed(circuit: ag.Circuit, ts: jax.Array) -> tuple[ag.Trajectory, float]:
    """A run and the seconds that it took."""
    begin = time.perf_counter()
    trajectory = jax.block_until_ready(ag.simulate(circuit, ts))
    return trajectory, time.perf_counter() - begin


def draw(
    years: np.ndarray, records: Sequence[np.ndarray], trajectory: ag.Trajectory, output: Path
) -> None:
    """Records as points and the trajectory as lines, into a PNG."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("  no picture: it needs matplotlib (pip install matplotlib)", file=sys.stderr)
        return
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    axes = figure.subplots()
    # Blue and vermilion of Okabe and Ito's palette, which colour-blind readers tell apart.
    looks = (("hare", "Hare", "#0072B2", "o"), ("lynx", "Lynx", "#D55E00", "s"))
    for (name, label, color, marker), record in zip(looks, records, strict=True):
        line = np.asarray(trajectory[name])
        axes.plot(trajectory.ts, line, color=color, linewidth=1.8, label=f"{label}, Lotka–Volterra")
        axes.plot(years, record, marker, color=color, markersize=7, label=f"{label}, recorded")
    title = "Canada lynx and snowshoe hare in the Hudson’s Bay Company’s records"
    axes.set_title(title, loc="left", fontweight="bold", pad=12)
    axes.set_xlabel("Year")
    axes.set_ylabel("Pelts traded (thousands a year)")
    axes.set_xlim(years[0] - 0.4, years[-1] + 0.4)
    axes.set_ylim(bottom=0)
    axes.set_xticks(years[::2])
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(output, dpi=140)
    print(f"  picture                       {output}")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    sys.exit(main())
