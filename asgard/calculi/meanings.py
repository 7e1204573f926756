"""What atoms mean: tables that calculi hand to the graph (`taylor.network`)."""

from typing import NoReturn

from ..circuits.atoms.events import Hybrid
from ..circuits.atoms.registers import (
    Delay,
    Deregister,
    JumpRegister,
    Register,
    StochasticRegister,
    Substitution,
)
from ..circuits.graph import Node
from ..circuits.terms import brief
from ..errors import CircuitError
from ..taylor.network import Meaning, Meanings, constant, deregister, given, hybrid, register

EVENTS = (
    "it jumps at events, which belong to runs along its dimension: use simulate or ensemble with "
    "that dim as time, and under Real not jax.disable_jit"
)
HISTORY = (
    "what a delay gives is read from the history of a run, which is no series: use simulate with "
    "its dimension as time, and not jax.disable_jit"
)
FOR_SERIES = "it composes power series, so it is for series only, not for simulate"


def delays(calculus: str, by_time: str) -> Meanings:
    """The errors for delays: by one sample, and by a time."""

    def meaning(node: Node) -> NoReturn:
        check_by(node, calculus)
        raise CircuitError(f"{brief(node.atom)}: {by_time}", atoms=[node.atom])

    return {Delay: meaning}


def check_by(node: Node, calculus: str) -> None:
    """Raises `CircuitError` for a delay by one sample."""
    if node.atom.by is None:
        raise CircuitError(
            f"{brief(node.atom)}: a unit delay has no meaning under {calculus}; it belongs to "
            "Discrete; a delay by a time says by how much: by=...",
            atoms=[node.atom],
        )


def noise(option: str, calculus: str, drift: str) -> Meanings:
    """Integrals against noise where none is drawn.

    With the option "off" they keep their initial contents; with "error" they are refused, and the
    message names the calculus `drift` whose option "off" runs the circuit.
    """
    meaning: Meaning = constant
    if option == "error":
        meaning = (
            f"an integral against noise has no meaning under {calculus}; run it under Stochastic, "
            f'or its drift alone under {drift}(noise="off")'
        )
    return {StochasticRegister: meaning, JumpRegister: meaning}


# What atoms mean in power series.
SERIES: Meanings = {
    Register: register,
    Deregister: deregister,
    Substitution: given,
    Hybrid: EVENTS,
    **delays("Real", HISTORY),
    **noise("error", "Real", "Real"),
}

# What atoms mean in a run under Real, and along the dimensions of any run that are not its time.
REAL: Meanings = {**SERIES, Substitution: FOR_SERIES}

# What they mean along the time of a compiled run under Real.
HYBRID: Meanings = {Hybrid: hybrid}
