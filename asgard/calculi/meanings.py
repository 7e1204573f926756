"""What atoms mean: tables that calculi hand to the graph (`taylor.network`)."""

from ..circuits.atoms.events import Hybrid
from ..circuits.atoms.registers import (
    Delay,
    Deregister,
    JumpRegister,
    Register,
    StochasticRegister,
    Substitution,
)
from ..taylor.network import Meaning, Meanings, constant, deregister, given, hybrid, register

EVENTS = (
    "it jumps at events, which belong to runs along its dimension: use simulate or ensemble with "
    "that dim as time, and under Real not jax.disable_jit"
)
FOR_SERIES = "it composes power series, so it is for series only, not for simulate"


def unit_delay(calculus: str) -> Meanings:
    """The error for unit delays."""
    return {Delay: f"a unit delay has no meaning under {calculus}; it belongs to Discrete"}


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
    **unit_delay("Real"),
    **noise("error", "Real", "Real"),
}

# What atoms mean in a run under Real, and along the dimensions of any run that are not its time.
REAL: Meanings = {**SERIES, Substitution: FOR_SERIES}

# What they mean along the time of a compiled run under Real.
HYBRID: Meanings = {Hybrid: hybrid}
