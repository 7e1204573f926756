"""`asgard draw`: the string diagram of a circuit."""

import argparse
from pathlib import Path

import jax

from ...circuits.circuit import Circuit
from ...errors import CircuitError
from ...language.equations.equations import equations
from ...pictures.draw import draw
from ..circuits import read_circuit, read_text, says_equations
from ..experiments.experiment import read_model
from ..experiments.setting import read_value
from ..faults import InputError, advised
from ..output import write
from .command import Commands

_HELP = """\
Draws the string diagram of a circuit: of its text, of equations, or of an experiment's file.
"""
_EPILOG = """\
examples:
  asgard draw "diff(q, t, 2) = -sin(q)" --out pendulum.svg
  asgard draw decay.toml --out decay.png
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    command = commands.add("draw", run, "draw the diagram of a circuit", _HELP, _EPILOG)
    command.add_argument(
        "system", help="equations, the text of a circuit, or a TOML file; - reads stdin"
    )
    command.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="the value of a parameter of equations",
    )
    command.add_argument("--blocks", choices=("folded", "open"), default="folded")
    command.add_argument(
        "--out", metavar="FILE", help="an .svg, .png or .pdf; without it, SVG goes to stdout"
    )


def run(options: argparse.Namespace) -> int:
    """Draws the circuit."""
    with jax.enable_x64(True):
        drawing = draw(_circuit(options), blocks=options.blocks)
    if options.out is None:
        write(drawing.svg())
        return 0
    try:
        drawing.save(Path(options.out))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--out {options.out}: cannot be written: {reason}") from None
    write(f"wrote {options.out}")
    return 0


def _circuit(options: argparse.Namespace) -> Circuit:
    if options.system.endswith(".toml"):
        return read_model(options.system, options.param).circuit
    text = read_text(options.system)
    if not says_equations(text):
        return read_circuit(text)[0]
    numbers = {}
    for setting in options.param:
        name, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--param {setting}: expected NAME=VALUE")
        numbers[name] = read_value(value, f"--param {setting}")
    try:
        return equations(text, parameters=numbers)
    except CircuitError as error:
        raise InputError(advised(str(error), in_file=False)) from None
