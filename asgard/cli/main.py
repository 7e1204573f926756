"""The command line, `asgard` or `python -m asgard`: series and checks of circuits in text."""

import argparse
import contextlib
import importlib.metadata
import math
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
from ..circuits.stream import Stream
from ..circuits.terms import brief
from ..errors import CircuitError, LoopError, SimulationError, located
from ..language.parse import parse
from ..language.syntax import read
from ..runs.series import series
from .report import derivatives, graph_components, listed, series_table, to_json

_COMBINATORS = ("composition", "monoidal", "trace")
# Past this many coefficients a wire, an order is a slip of the finger.
_MOST_COEFFICIENTS = 100_000

_SERIES_HELP = """\
Prints the Taylor coefficients of each output about 0, and its derivatives there, n! times the
coefficients. Numbers are float64. A derivative that float64 does not hold is marked as such. Along
several dimensions a row is a multi-index, and rows whose coefficient is 0 are left out.
"""
_SERIES_EPILOG = """\
--json prints one object with full-precision numbers:
  {"circuit": text, "dims": [name, ...], "orders": [order, ...],
   "outputs": [{"coefficients": [...], "derivatives": [...]}, ...]}
Lists nest once for each of dims. What is not finite is the string "NaN", "Infinity" or "-Infinity",
a derivative that float64 does not hold is null, a complex number is {"real": x, "imag": y}.

example: the series of e^t, from f = 1 + integral of f
  asgard series "trace(composition(add, split, monoidal(id, register(t))))" --input 1 --order 12
"""
_CHECK_HELP = """\
Prints the wire counts of a circuit, its dimensions, and its components in the order they run: what
is straight, and the loops with the dimension that guards each. A loop that no dimension guards is
algebraic. The exit status is 0 for any circuit that can be read.
"""
_CHECK_EPILOG = """\
--json prints one object:
  {"circuit": text, "n_in": count, "n_out": count, "dims": [name, ...], "components": [...]}
A component is {"kind": "straight", "guarded" or "algebraic", "nodes": [text, ...]}; a guarded one
also has "dim", and "inner": the loops that are left in it when dim has cut what it can.
"""


class _ArgumentError(Exception):
    """A wrong argument: which one, what is wrong, and where in its text."""

    def __init__(self, argument: str, message: str, text: str, offset: int):
        super().__init__(f"argument {argument}: {located(message, text, 1, offset + 1)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line on `argv`, or on the process's own arguments.

    Returns the exit status: 0, or 2 after an error, of which one message stands on stderr. As
    argparse does, exits for `--help`, `--version` and arguments that do not fit the usage.
    """
    options = _parser().parse_args(_attach_negative(sys.argv[1:] if argv is None else argv))
    try:
        with jax.enable_x64(True):
            report = options.run(options)
    except (CircuitError, SimulationError, _ArgumentError) as error:
        message = str(error)
    except (MemoryError, OverflowError):
        message = "this needs more memory than there is; is a count in the circuit a slip?"
    except Exception as error:  # an edge: whatever it is, the user gets one message
        reason = str(error).partition("\n")[0][:200]
        message = f"internal error, a fault of Asgard's own: {type(error).__name__}: {reason}"
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
    shared = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}

    command = commands.add_parser(
        "series",
        help="print the power series of a circuit's outputs",
        description=_SERIES_HELP,
        epilog=_SERIES_EPILOG,
        **shared,
    )
    command.add_argument("circuit", help="the circuit as text; - reads it from stdin")
    command.add_argument(
        "--input",
        action="append",
        default=[],
        dest="inputs",
        metavar="[DIM:]C0,C1,...",
        help="an input's Taylor coefficients, once for each input wire; along DIM, or else along "
        "the first dimension that the circuit names, or t",
    )
    command.add_argument(
        "--order",
        required=True,
        metavar="N | DIM=N,...",
        help="the highest order, for all dimensions or for each",
    )
    command.add_argument("--json", action="store_true", help="print JSON in place of tables")
    command.set_defaults(run=_run_series)

    command = commands.add_parser(
        "check",
        help="print a circuit's degrees, components and what guards its loops",
        description=_CHECK_HELP,
        epilog=_CHECK_EPILOG,
        **shared,
    )
    command.add_argument("circuit", help="the circuit as text; - reads it from stdin")
    command.add_argument("--json", action="store_true", help="print JSON in place of text")
    command.set_defaults(run=_run_check)
    return parser


def _attach_negative(argv: Sequence[str]) -> list[str]:
    """Joins `--input -1,0` to `--input=-1,0`: argparse takes a leading minus for an option."""
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
        # The reader has seen enough. What is still buffered must not fail again at exit.
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
        # A closed loop with no atom in it, so there is no atom to point at.
        token = next(token for token in _calls(text) if token.lower() == "trace")
        raise _at(token, error, text) from None


def _calls(text: str) -> Iterator[lark.Token]:
    """The word of each call in a circuit's text, from left to right, but for those in a compose."""
    pending: list[Any] = [read(text)]
    while pending:
        word, *arguments = pending.pop().children
        yield word
        if word.lower() in _COMBINATORS:
            calls = [argument for argument in arguments if isinstance(argument, lark.Tree)]
            pending.extend(reversed(calls))


def _at(token: lark.Token, error: CircuitError, text: str) -> CircuitError:
    """The error with its place in the text."""
    error.line, error.column = token.line or 1, token.column or 1
    error.args = (located(str(error), text, error.line, error.column),)
    return error


# --- series ---


def _run_series(options: argparse.Namespace) -> str:
    text = _read_text(options.circuit)
    circuit, graph = _read_circuit(text)
    if len(options.inputs) != circuit.n_in:
        raise CircuitError(
            f"the circuit has {_count(circuit.n_in, 'input')}, but --input is given "
            f"{_count(len(options.inputs), 'time')}: {brief(circuit)}"
        )
    streams = [_stream(argument, (*graph.dims, "t")[0]) for argument in options.inputs]
    given = dict.fromkeys([*(dim for stream in streams for dim in stream.dims), *graph.dims])
    orders = _orders(options.order, tuple(given))
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


def _stream(argument: str, default_dim: str) -> Stream:
    """An input's stream, from `x:1,0,0` or `1,0,0`."""
    dim, colon, _ = argument.partition(":")
    if not colon:
        dim = default_dim
    elif not re.fullmatch(r"[A-Za-z_]\w*", dim, re.ASCII):
        raise _ArgumentError("--input", f"{dim!r} does not name a dimension", argument, 0)
    start = len(dim + colon) if colon else 0
    coefficients = [
        _number(argument, offset, item) for offset, item in _items(argument, start=start)
    ]
    return Stream(np.asarray(coefficients), (dim,))


def _number(argument: str, offset: int, item: str) -> float | complex:
    try:
        value = complex(item) if "j" in item.lower() else float(item)
    except ValueError:
        fault = f"{item.strip()!r} is not a number" if item.strip() else "a number is missing"
        raise _ArgumentError("--input", fault, argument, offset) from None
    if np.isinf(value) and "inf" not in item.lower():
        raise _ArgumentError("--input", f"{item} is more than float64 holds", argument, offset)
    return value


def _orders(argument: str, dims: tuple[str, ...]) -> dict[str, int]:
    """The order along each of `dims`, from `12` or `t=12,x=40`."""
    if "=" not in argument:
        orders = dict.fromkeys(dims, _order(argument, 0, argument))
    else:
        orders = {}
        for offset, item in _items(argument):
            dim, equals, number = item.partition("=")
            if not equals:
                raise _ArgumentError("--order", "each must be a DIM=N", argument, offset)
            if dim.strip() not in dims:
                known = f"they are {', '.join(dims)}" if dims else "there are none"
                fault = f"{dim.strip()!r} is no dimension of the circuit and its inputs; {known}"
                raise _ArgumentError("--order", fault, argument, offset)
            if dim.strip() in orders:
                raise _ArgumentError("--order", f"{dim.strip()} has two orders", argument, offset)
            orders[dim.strip()] = _order(argument, offset + len(dim) + 1, number)
        missing = [dim for dim in dims if dim not in orders]
        if missing:
            fault = f"none is given along {', '.join(missing)}"
            raise _ArgumentError("--order", fault, argument, len(argument))
    if math.prod(order + 1 for order in orders.values()) > _MOST_COEFFICIENTS:
        fault = f"that is more than {_MOST_COEFFICIENTS:,} coefficients a wire"
        raise _ArgumentError("--order", fault, argument, 0)
    return orders


def _order(argument: str, offset: int, item: str) -> int:
    if not re.fullmatch(r"\s*\+?[0-9]{1,18}\s*", item):
        fault = f"an order is a count, not {item.strip()!r}"
        raise _ArgumentError("--order", fault, argument, offset)
    return int(item)


def _items(argument: str, start: int = 0) -> Iterator[tuple[int, str]]:
    """The parts of a text between commas, and where each starts."""
    for item in argument[start:].split(","):
        yield start + len(item) - len(item.lstrip()), item
        start += len(item) + 1


@contextlib.contextmanager
def _located_in(text: str, circuit: Circuit) -> Iterator[None]:
    """Gives an error about atoms of a circuit the place of the first of them in its text."""
    try:
        yield
    except CircuitError as error:
        # Parts of the circuit and words in its text come in the same order.
        words = (word for word in _calls(text) if word.lower() not in _COMBINATORS)
        for word, part in zip(words, circuit.parts, strict=True):
            if any(part is atom for atom in error.atoms):
                raise _at(word, error, text) from None
        raise


# --- check ---


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


# --- both ---


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s'[: number != 1]}"
