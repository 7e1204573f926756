"""`asgard series`: the power series of a circuit's outputs."""

import argparse

import jax
import numpy as np

from ...circuits.terms import brief
from ...errors import CircuitError
from ...runs.series import series
from ..arguments import read_orders, read_stream
from ..circuits import located_in, read_circuit, read_text
from ..commands.command import Commands
from ..output import write
from ..report import derivatives, series_table, to_json

_HELP = """\
Prints the Taylor coefficients of each output about 0, and its derivatives there, n! times the
coefficients. Numbers are float64. A derivative past the range of float64 is marked as such. With
several dimensions each row is a multi-index, and rows whose coefficient is 0 are left out.
"""
_EPILOG = """\
--json prints one object with full-precision numbers:
  {"circuit": text, "dims": [name, ...], "orders": [order, ...],
   "outputs": [{"coefficients": [...], "derivatives": [...]}, ...]}
Lists nest once for each of dims. Numbers that are not finite are the strings "NaN", "Infinity" and
"-Infinity", a derivative past the range of float64 is null, a complex number is
{"real": x, "imag": y}.

example: the series of e^t, from f = 1 + integral of f
  asgard series "trace(composition(add, split, monoidal(id, register(t))))" --input 1 --order 12
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    expand = commands.add(
        "series", run, "print the power series of a circuit's outputs", _HELP, _EPILOG
    )
    expand.add_argument("circuit", help="the circuit as text; - reads it from stdin")
    expand.add_argument("--json", action="store_true", help="print JSON in place of text")
    expand.add_argument(
        "--input",
        action="append",
        default=[],
        dest="inputs",
        metavar="[DIM:]C0,C1,...",
        help="an input's Taylor coefficients, once for each input wire; along DIM, or else along "
        "the first dimension that the circuit names, or t",
    )
    expand.add_argument(
        "--order",
        required=True,
        metavar="N | DIM=N,...",
        help="the highest order, for all dimensions or for each",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the series."""
    with jax.enable_x64(True):
        write(_report(options))
    return 0


def _report(options: argparse.Namespace) -> str:
    text = read_text(options.circuit)
    circuit, graph = read_circuit(text)
    if len(options.inputs) != circuit.n_in:
        raise CircuitError(
            f"the circuit has {_count(circuit.n_in, 'input')}, but --input is given "
            f"{_count(len(options.inputs), 'time')}: {brief(circuit)}"
        )
    streams = [read_stream(argument, (*graph.dims, "t")[0]) for argument in options.inputs]
    given = dict.fromkeys([*(dim for stream in streams for dim in stream.dims), *graph.dims])
    orders = read_orders(options.order, tuple(given))
    with located_in(text, circuit):
        outputs = series(circuit, *streams, order=orders)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    arrays = [np.asarray(output.coefficients) for output in outputs]
    if options.json:
        return to_json(
            {
                "circuit": str(circuit),
                "dims": list(orders),
                "orders": list(orders.values()),
                "outputs": [
                    {"coefficients": array.tolist(), "derivatives": derivatives(array).tolist()}
                    for array in arrays
                ],
            }
        )
    tables = [series_table(array, tuple(orders)) for array in arrays]
    if len(tables) > 1:
        tables = [f"output {number}\n{table}" for number, table in enumerate(tables, start=1)]
    return "\n\n".join(tables) or "the circuit has no outputs"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s'[: number != 1]}"
