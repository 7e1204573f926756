"""What goes wrong on the command line, and what a user is told of it."""

from ..errors import CircuitError, SimulationError
from .arguments import ArgumentError


class InputError(Exception):
    """What a user gave is wrong: where it stands, what was found, and what was expected."""


# What a user can cause: these errors say it themselves.
_SAID = (CircuitError, SimulationError, ArgumentError, InputError, ImportError)


# What errors of circuits and runs advise, and what that is in a file and on the command line.
_ADVICE = {
    "parameters={...} or inputs=(...)": ("the tables parameters or inputs", "--param or --input"),
    "noise=(...)": ("the array noise", "--set noise=[...]"),
    'run it under Stochastic, or its drift alone under Real(noise="off")': (
        'say name = "stochastic" in [calculus], or noise = "off" for its drift alone',
        "say --calculus stochastic, or --set calculus.noise=off for its drift alone",
    ),
    "use Real(method=ag.Radau())": ('say method = "radau" in [calculus]', "say --method radau"),
    "try Real(rtol=1e-8)": ("try rtol = 1e-8 in [calculus]", "try --rtol 1e-8"),
    "raise Real(max_events=...)": (
        "raise max_events in [calculus]",
        "raise --set calculus.max_events=...",
    ),
}


def advised(message: str, in_file: bool) -> str:
    """A message of a circuit or a run with advice for those who do not write Python."""
    for said, (file, options) in _ADVICE.items():
        message = message.replace(said, file if in_file else options)
    return message


def explained(error: Exception) -> str:
    """One message for a user, whatever went wrong."""
    reason = str(error)
    if isinstance(error, _SAID):
        return reason
    if isinstance(error, MemoryError | OverflowError) or "RESOURCE_EXHAUSTED" in reason:
        return "this needs more memory than there is; is a count in it too large?"
    shown = reason.partition("\n")[0][:200]
    return f"internal error, a bug in Asgard: {type(error).__name__}: {shown}"
