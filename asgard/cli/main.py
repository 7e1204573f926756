"""The command line, `asgard` or `python -m asgard`: series and checks of circuits in text."""

import argparse
import contextlib
import importlib.metadata
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import lark
import numpy as np

from ..circuits.circuit import Circuit
from ..circuits.graph import Graph, flatten
from ..circuits.terms import brief
from ..errors import CircuitError, LoopError, SimulationError
from ..language.parse import parse
from ..language.syntax import read
from ..runs.series import series
from .arguments import ArgumentError, read_orders, read_stream
from .report import derivatives, graph_components, listed, series_table, to_json

_COMBINATORS = ("composition", "monoidal", "trace")

_SERIES_HELP = """\
Prints the Taylor coefficients of each output about 0, and its derivatives there, n! times the
coefficients. Numbers are float64. A derivative past the range of float64 is marked as such. With
several dimensions each row is a multi-index, and rows whose coefficient is 0 are left out.
"""
_SERIES_EPILOG = """\
--json prints one object with full-precision numbers:
  {"circuit": text, "dims": [name, ...], "orders": [order, ...],
   "outputs": [{"coefficients": [...], "derivatives": [...]}, ...]}
Lists nest once for each of dims. Numbers that are not finite are the strings "NaN", "Infinity" and
"-Infinity", a derivative past the range of float64 is null, a complex number is
{"real": x, "imag": y}.

example: the series of e^t, from f = 1 + integral of f
  asgard series "trace(composition(add, split, monoidal(id, register(t))))" --input 1 --order 12
"""
_CHECK_HELP = """\
Prints the wire counts of a circuit, its dimensions, and its components in the order they run:
straight ones, and loops with the dimension that guards each. A loop that no dimension guards is
algebraic: it is solved as a fixed point. The exit status is 0 for any circuit that can be read.
"""
_CHECK_EPILOG = """\
--json prints one object:
  {"circuit": text, "n_in": count, "n_out": count, "dims": [name, ...], "components": [...]}
A component is {"kind": "straight", "guarded" or "algebraic", "nodes": [text, ...]}; a guarded one
also has "dim", and "inner": the loops that are left in it when dim has cut what it can.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line on `argv`, or on the process's own arguments.

    Returns the exit status: 0, or 2 after an error, with one message on stderr. Exits as argparse
    does for `--help`, `--version` and arguments that do not fit the usage.
    """
    options = _parser().parse_args(_attach_negative(sys.argv[1:] if argv is None else argv))
    try:
        with jax.enable_x64(True):
            report = options.run(options)
    except (CircuitError, SimulationError, ArgumentError) as error:
        message = str(error)
    except (MemoryError, OverflowError):
        message = "this needs more memory than there is; is a count in the circuit too large?"
    except Exception as error:  # the user gets one message, whatever goes wrong
        reason = str(error).partition("\n")[0][:200]
        message = f"internal error, a bug in Asgard: {type(error).__name__}: {reason}"
    else:
        _write(report)
        return 0
    print(f"asgard {options.command}: error: {message}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asgard", description="Dynamical systems as typed circuits.", allow_abbrev=False
    )
    try:
        version = importlib.metadata.version("asgard")
    except importlib.metadata.PackageNotFoundError:
        version = "(not installed)"
    parser.add_argument("--version", action="version", version=f"asgard {version}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(run: Any, name: str, **texts: Any) -> argparse.ArgumentParser:
        form = argparse.RawDescriptionHelpFormatter
        added = commands.add_parser(name, formatter_class=form, allow_abbrev=False, **texts)
        added.add_argument("circuit", help="the circuit as text; - reads it from stdin")
        added.add_argument("--json", action="store_true", help="print JSON in place of text")
        added.set_defaults(run=run)
        return added

    expand = command(
        _run_series,
        "series",
        help="print the power series of a circuit's outputs",
        description=_SERIES_HELP,
        epilog=_SERIES_EPILOG,
    )
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
    command(
        _run_check,
        "check",
        help="print a circuit's degrees, components and what guards its loops",
        description=_CHECK_HELP,
        epilog=_CHECK_EPILOG,
    )
    return parser


def _attach_negative(argv: Sequence[str]) -> list[str]:
    """Joins `--input -1,0` to `--input=-1,0`, as argparse reads a leading minus as an option."""
    joined: list[str] = []
    for argument in argv:
        if joined[-1:] in (["--input"], ["--order"]) and re.match(r"-(\d|\.|inf|nan)", argument):
            joined[-1] += "=" + argument
        else:
            joined.append(argument)
    return joined


def _write(report: str) -> None:
    try:
        print(report, flush=True)
    except BrokenPipeError:
        # The reader has closed the pipe. Flushing the rest at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _read_text(argument: str) -> str:
    if argument != "-":
        return argument
    try:
        return sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        raise CircuitError(f"stdin cannot be read as text: {error}") from error


def _read_circuit(text: str) -> tuple[Circuit, Graph]:
    circuit = parse(text)
    try:
        return circuit, flatten(circuit)
    except LoopError as error:
        # A closed loop without atoms: point at the first trace.
        token = next(token for token in _calls(text) if token.lower() == "trace")
        raise error.located_at(text, token.line or 1, token.column or 1) from None


def _calls(text: str) -> Iterator[lark.Token]:
    """The word of each call in a circuit's text, from left to right, without those in a compose."""
    pending: list[Any] = [read(text)]
    while pending:
        word, *arguments = pending.pop().children
        yield word
        if word.lower() in _COMBINATORS:
            calls = [argument for argument in arguments if isinstance(argument, lark.Tree)]
            pending.extend(reversed(calls))


def _run_series(options: argparse.Namespace) -> str:
    text = _read_text(options.circuit)
    circuit, graph = _read_circuit(text)
    if len(options.inputs) != circuit.n_in:
        raise CircuitError(
            f"the circuit has {_count(circuit.n_in, 'input')}, but --input is given "
            f"{_count(len(options.inputs), 'time')}: {brief(circuit)}"
        )
    streams = [read_stream(argument, (*graph.dims, "t")[0]) for argument in options.inputs]
    given = dict.fromkeys([*(dim for stream in streams for dim in stream.dims), *graph.dims])
    orders = read_orders(options.order, tuple(given))
    with _located_in(text, circuit):
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


@contextlib.contextmanager
def _located_in(text: str, circuit: Circuit) -> Iterator[None]:
    """Adds to an error about atoms where the first of them is in the circuit's text."""
    try:
        yield
    except CircuitError as error:
        # The parts of the circuit and the words of its text have one order.
        words = (word for word in _calls(text) if word.lower() not in _COMBINATORS)
        for word, part in zip(words, circuit.parts, strict=True):
            if any(part is atom for atom in error.atoms):
                raise error.located_at(text, word.line or 1, word.column or 1) from None
        raise


def _run_check(options: argparse.Namespace) -> str:
    circuit, graph = _read_circuit(_read_text(options.circuit))
    found = list(graph_components(graph))
    if options.json:
        return to_json(
            {
                "circuit": str(circuit),
                "n_in": circuit.n_in,
                "n_out": circuit.n_out,
                "dims": list(graph.dims),
                "components": found,
            }
        )
    lines = [
        f"circuit     {brief(circuit)}",
        f"degrees     {circuit.n_in} -> {circuit.n_out}",
        f"dimensions  {', '.join(graph.dims) or 'none'}",
        "components  " + ("in the order they run:" if found else "none, all is wiring"),
    ]
    pending = [(component, 1) for component in reversed(found)]
    while pending:
        component, depth = pending.pop()
        kind = component["kind"]
        kind += f" by {component['dim']}" if kind == "guarded" else ""
        note = " (no register cuts it: solved as a fixed point)" if kind == "algebraic" else ""
        lines.append(f"{'  ' * depth}{kind}: {listed(component['nodes'])}{note}")
        inner = component.get("inner", [])
        pending.extend((loop, depth + 1) for loop in reversed(inner))
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s'[: number != 1]}"
