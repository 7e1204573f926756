"""`asgard check`: a circuit's degrees, components and what guards its loops."""

import argparse

import jax

from ...circuits.terms import brief
from ..circuits import read_circuit, read_text
from ..commands.command import Commands
from ..output import write
from ..report import graph_components, listed, to_json

_HELP = """\
Prints the wire counts of a circuit, its dimensions, and its components in the order they run:
straight ones, and loops with the dimension that guards each. A loop that no dimension guards is
algebraic: it is solved as a fixed point. The exit status is 0 for any circuit that can be read.
"""
_EPILOG = """\
--json prints one object:
  {"circuit": text, "n_in": count, "n_out": count, "dims": [name, ...], "components": [...]}
A component is {"kind": "straight", "guarded" or "algebraic", "nodes": [text, ...]}; a guarded one
also has "dim", and "inner": the loops that are left in it when dim has cut what it can.
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    text = "print a circuit's degrees, components and what guards its loops"
    check = commands.add("check", run, text, _HELP, _EPILOG)
    check.add_argument("circuit", help="the circuit as text; - reads it from stdin")
    check.add_argument("--json", action="store_true", help="print JSON in place of text")


def run(options: argparse.Namespace) -> int:
    """Prints what is found."""
    with jax.enable_x64(True):
        write(_report(options))
    return 0


def _report(options: argparse.Namespace) -> str:
    circuit, graph = read_circuit(read_text(options.circuit))
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
