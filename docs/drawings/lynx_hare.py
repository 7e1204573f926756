"""Draws docs/images/asgard.svg, the picture of the README: a circuit, and its fit drawing itself.

    python docs/drawings/lynx_hare.py

For phones there is a narrow one without the diagram, asgard_narrow.svg. The pictures move by CSS,
once, and are whole where nothing moves.
"""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from style import BLUE, GREY, ORANGE, picture, text

import asgard as ag

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
RECORDS = ROOT / "examples" / "data" / "lynx_hare.csv"
WIDTH, HEIGHT = 900, 478
NARROW, LONG = 480, 600
LEFT, RIGHT, TOP, BOTTOM = 450, 880, 56, 300  # the axes of the plot
MOST = 85.0  # thousands of pelts

CODE = (
    "@ag.circuit",
    "def pelts(*, a, b, c, d, start):",
    '    hare = ag.register("t", start[0])',
    '    lynx = ag.register("t", start[1])',
    "    hare.input = hare * (a - b * lynx)",
    "    lynx.input = lynx * (d * hare - c)",
    '    return {"hare": hare, "lynx": lynx}',
)


@ag.circuit
def pelts(*, a, b, c, d, start):
    hare = ag.register("t", start[0])
    lynx = ag.register("t", start[1])
    hare.input = hare * (a - b * lynx)
    lynx.input = lynx * (d * hare - c)
    return {"hare": hare, "lynx": lynx}


def populations(circuit, ts):
    """Logarithms, [species, times]."""
    run = ag.simulate(circuit, ts, calculus=ag.Real(rtol=1e-8, max_steps=512))
    return jnp.log(jnp.stack([run["hare"], run["lynx"]]))


def residuals(circuit, ts, records):
    return populations(circuit, ts) - jnp.log(records)


def fitted():
    """The records, [3, years], and the fit at 10 times a year: times and [species, times]."""
    years, *species = np.loadtxt(RECORDS, delimiter=",", skiprows=1, unpack=True)
    guess = pelts(a=0.5, b=0.03, c=0.8, d=0.025, start=(30.0, 4.0))
    arguments = (jnp.asarray(years), jnp.stack(species))
    fit = ag.fit_residuals(guess, residuals, args=arguments, steps=50)
    ts = np.linspace(years[0], years[-1], 201)
    return (years, *species), ts, np.exp(populations(fit.circuit, ts))


def across(year):
    return LEFT + (RIGHT - LEFT) * (year - 1900) / 20


def up(number):
    return BOTTOM - (BOTTOM - TOP) * number / MOST


def plot() -> list[str]:
    (years, *species), ts, lines = fitted()
    body = []
    for level in (0, 20, 40, 60, 80):
        body.append(f'<path d="M{LEFT},{up(level):.1f} H{RIGHT}" stroke="#e5e7eb"/>')
        body.append(text(LEFT - 8, up(level) + 5, str(level), size=14, anchor="end", fill=GREY))
    for year in (1900, 1910, 1920):
        anchor = "end" if year == 1920 else "middle"
        body.append(text(across(year), BOTTOM + 24, str(year), size=14, anchor=anchor, fill=GREY))
    title = "Pelts, thousands a year: records and fit"
    body.append(text(LEFT, 30, title, size=16, anchor="start", weight="bold"))
    for name, colour, record, line in zip(
        ("hare", "lynx"), (BLUE, ORANGE), species, lines, strict=True
    ):
        path = " ".join(f"{across(t):.1f},{up(y):.1f}" for t, y in zip(ts, line, strict=True))
        body.append(
            f'<polyline class="run" pathLength="1" points="{path}" fill="none" stroke="{colour}" '
            f'stroke-width="3" stroke-linejoin="round"/>'
        )
        for year, number in zip(years, record, strict=True):
            body.append(
                f'<circle cx="{across(year):.1f}" cy="{up(number):.1f}" r="4.2" fill="#fff" '
                f'stroke="{colour}" stroke-width="2"/>'
            )
        best = int(np.argmax(line))
        body.append(
            text(
                across(ts[best]) + 26,
                up(line[best]) - 2,
                name,
                size=16,
                fill=colour,
                anchor="start",
                weight="bold",
            )
        )
    return body


def diagram() -> str:
    """The circuit as a string diagram, below code and plot."""
    circuit = pelts(a=0.5, b=0.03, c=0.8, d=0.025, start=(30.0, 4.0))
    drawn = ag.draw(circuit, blocks="open").svg()
    found = re.search(r'viewBox="([^"]+)"', drawn)
    assert found is not None
    inside = drawn[drawn.index("</title>") + len("</title>") : drawn.rindex("</svg>")]
    return (
        f'<svg x="14" y="330" width="872" height="140" viewBox="{found[1]}" '
        f'stroke-linejoin="round" stroke-linecap="round">{inside}</svg>'
    )


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    move = (
        "<style>.run{stroke-dasharray:1;animation:draw 6s linear 1}"
        "@keyframes draw{from{stroke-dashoffset:1}to{stroke-dashoffset:0}}"
        "@media (prefers-reduced-motion: reduce){.run{animation:none}}</style>"
    )
    code = [
        text(
            24,
            84 + 30 * row,
            line,
            size=16,
            anchor="start",
            extra='font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" xml:space="preserve"',
        )
        for row, line in enumerate(CODE)
    ]
    fit = plot()
    title = "A function of Python is a circuit, drawn as a string diagram, and fitted to records"
    wide = picture(WIDTH, HEIGHT, title, [move, *code, diagram(), *fit])
    (IMAGES / "asgard.svg").write_text(wide, encoding="utf-8")
    above = '<g transform="translate(0,-44)">'
    below = f'<g transform="translate({NARROW - RIGHT - 14},256)">'
    title = "A function of Python is a circuit, fitted to records"
    narrow = picture(NARROW, LONG, title, [move, above, *code, "</g>", below, *fit, "</g>"])
    (IMAGES / "asgard_narrow.svg").write_text(narrow, encoding="utf-8")


if __name__ == "__main__":
    main()
