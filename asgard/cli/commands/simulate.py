"""`asgard simulate`: equations, or the text of a circuit, over time."""

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path as File
from typing import Any

import jax
import numpy as np

from ..circuits import read_text, says_equations
from ..experiments.document import Document, Path, printable
from ..experiments.experiment import Wanted, model_of, report_of
from ..experiments.results import Result
from ..experiments.setting import read_value, with_settings
from ..experiments.summary import as_json
from ..experiments.writing import check_parent, check_picture, write_table
from ..faults import InputError
from ..output import write
from ..report import table, to_json
from .command import Commands

_HELP = """\
Runs equations over time and prints a table, or writes what is asked for. A text without an equals
sign is the text of a circuit.
"""
_EPILOG = """\
examples:
  asgard simulate "diff(x, t) = -a*x" --param a=0.5 --initial x=2 --until 10
  asgard simulate "diff(q, t, 2) = -sin(q)" --initial q=1 --until 20 --plot pendulum.png
  asgard simulate "dx = -x*dt + 0.3*dW" --calculus stochastic --until 5 --paths 500 --dt 0.01
"""
_ROWS, _FINE = 11, 201
# The steps of a run with noise between its first and its last time.
_STEPS = 1000


def add(commands: Commands) -> None:
    """Adds the command."""
    command = commands.add("simulate", run, "run equations over time", _HELP, _EPILOG)
    command.add_argument("system", help="equations, or the text of a circuit; - reads stdin")
    command.add_argument("--until", type=float, required=True, metavar="T", help="the last time")
    command.add_argument(
        "--from", type=float, default=0.0, dest="begin", metavar="T", help="the first time, 0"
    )
    command.add_argument("--points", type=int, metavar="N", help="how many times are saved")
    for option, text in (
        ("--param", "the value of a parameter"),
        ("--initial", "an initial value"),
        ("--input", "an input: a number, or a formula of time and parameters"),
        ("--set", "any other key of an experiment, such as calculus.max_steps=100"),
    ):
        command.add_argument(option, action="append", default=[], metavar="NAME=VALUE", help=text)
    command.add_argument("--calculus", metavar="NAME", help="real, discrete or stochastic")
    command.add_argument("--method", metavar="NAME", help="how a step is made, such as tsit5")
    command.add_argument("--rtol", type=float, metavar="R", help="the relative error of a step")
    _add_noise(command)
    command.add_argument("--plot", metavar="FILE", help="draw a picture (.png, .svg or .pdf)")
    command.add_argument("--csv", metavar="FILE", help="write a table")
    command.add_argument("--json", action="store_true", help="print JSON")


def _add_noise(command: argparse.ArgumentParser) -> None:
    """The options of runs with noise."""
    noise = command.add_argument_group("under --calculus stochastic")
    steps = noise.add_mutually_exclusive_group()
    steps.add_argument("--dt", type=float, metavar="H", help="the longest step")
    steps.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help=f"steps between two saved times; by default about {_STEPS} in all",
    )
    noise.add_argument("--paths", type=int, metavar="N", help="the number of paths, 1000")
    noise.add_argument("--key", type=int, metavar="N", help="what random numbers begin with, 0")


def run(options: argparse.Namespace) -> int:
    """Runs the system."""
    if options.plot is not None:
        check_picture(File(options.plot))
    if options.csv is not None:
        check_parent("--csv", File(options.csv))
    with jax.enable_x64(True):
        model = model_of(_with_steps(with_settings(_document(options), options.set)))
        picture = None if options.plot is None else File(options.plot)
        report = report_of(model, Wanted(plot=picture is not None, picture=picture))
        if report.result is None:
            print(f"asgard simulate: error: {report.message}", file=sys.stderr)
            return report.exit_status
        if options.csv is not None:
            write_table(report.result, File(options.csv))
        if options.json:
            write(to_json(as_json(report)))
        elif options.csv is None and options.plot is None:
            write(_table(report.result))
    for path in (options.plot, options.csv):
        if path is not None and not options.json:
            write(f"wrote {path}")
    return report.exit_status


def _document(options: argparse.Namespace) -> Document:
    """The options as an experiment."""
    text = read_text(options.system)
    if not text.strip():
        raise InputError("the text is empty: expected equations, or the text of a circuit")
    key = "equations" if says_equations(text) else "circuit"
    fine = options.plot is not None or options.csv is not None or options.json
    times = {"from": options.begin, "until": options.until}
    places: dict[Path, str] = {(key,): "the system"}
    for name, option in (("from", "from"), ("until", "until"), ("points", "points")):
        places["times", name] = f"--{option}"
    if options.points is not None:
        times["points"] = options.points
    elif options.calculus != "discrete":
        times["points"] = _FINE if fine else _ROWS
    calculus: dict[str, Any] = {}
    for name in ("name", "method", "rtol", "dt", "steps", "paths", "key"):
        option = "calculus" if name == "name" else name
        places["calculus", name] = f"--{option}"
        given = getattr(options, option)
        if given is not None:
            calculus[name] = given
    title = printable("; ".join(text.split("\n")), 80)
    values: dict[str, Any] = {"title": title, key: text, "times": times, "calculus": calculus}
    for kind, option, given in (
        ("parameters", "--param", options.param),
        ("initial", "--initial", options.initial),
        ("inputs", "--input", options.input),
    ):
        values[kind] = _numbers(kind, option, given, places)
    return Document("", values, options=places)


def _with_steps(document: Document) -> Document:
    """The document with a number of steps, where it has noise and says none."""
    calculus, times = document.values["calculus"], document.values["times"]
    if calculus.get("name") != "stochastic" or calculus.keys() & {"dt", "steps"}:
        return document
    points = times.get("points")
    between = points - 1 if isinstance(points, int) and points > 1 else 1
    steps = {"steps": math.ceil(_STEPS / between)}
    return dataclasses.replace(document, values={**document.values, "calculus": calculus | steps})


def _numbers(
    kind: str, option: str, given: Sequence[str], places: dict[Path, str]
) -> dict[str, Any]:
    """Values by name, and in `places` the options that said them."""
    found: dict[str, Any] = {}
    for setting in given:
        name, equals, text = setting.partition("=")
        said = f"{option} {printable(setting, 60)}"
        if not equals or not name.strip():
            raise InputError(f"{said}: expected NAME=VALUE")
        places[kind, name.strip()] = said
        found[name.strip()] = read_value(text.strip(), said)
    return found


def _table(result: Result) -> str:
    """The numbers as text, at most some rows of them."""
    columns = result.columns()
    count = len(next(iter(columns.values())))
    rows = np.unique(np.linspace(0, count - 1, min(count, 10 * _ROWS)).round().astype(int))
    cells = [[name, *(f"{values[row]:.9g}" for row in rows)] for name, values in columns.items()]
    return table(cells)
