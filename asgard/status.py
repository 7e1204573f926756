"""How a run ended, as data."""

import functools
import operator
from collections import Counter
from typing import Any, cast

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer

_Items: Any = type(eqx.Enumeration)


class Counted(_Items):
    """The metaclass of enumerations of which `print` shows one as "ok" or what it says, and many by
    how often each stands there: `298 ok, 2 nonfinite`."""

    def __getitem__(self, item: Any) -> str:
        values: Any = item._value
        known = isinstance(values, jax.Array | np.ndarray) and not isinstance(values, Tracer)
        if not known or not np.ndim(values):
            return super().__getitem__(item) or "ok"
        names = {int(one._value): name for name, one in self._name_to_item.items()}
        counts = Counter(names[number] for number in np.ravel(values).tolist())
        return ", ".join(f"{count} {name}" for name, count in counts.most_common())


class Status(eqx.Enumeration, metaclass=Counted):
    """How a run ended. Compares with `==` under tracing; each lane of a `vmap` has its own."""

    ok = ""
    max_steps = (
        "the steps ran out before the last time; raise max_steps, loosen rtol, or shorten the "
        "run: the system may be stiff, slide along a jump, have a singularity ahead, or round its "
        "values to a smaller dtype than that of the run (float32 in float64), which asks for a "
        "looser rtol"
    )
    nonfinite = (
        "a value is not finite: the solution may become infinite here; else check the initial "
        "values, parameters and inputs, and functions at the edge of their domain (log, sqrt or a "
        "power at 0, division by 0)"
    )
    step_size = (
        "no step that time's resolution can hold satisfies the equation: there is a singularity or "
        "a jump here; declare jumps in time as breakpoints, or end the run before it (or rtol is "
        "too small for the dtype)"
    )
    newton = (
        "the stages of an implicit step were not found at any size: the solution may become "
        "infinite or end here, or the Jacobian may be singular; check the initial values, and the "
        "algebraic loops"
    )
    stiff = (
        "the system is stiff here: explicit steps are bounded by stability and not by accuracy; "
        "use Real(method=ag.Radau())"
    )
    zeno = (
        "events follow each other here without end: more than 64 of them within the resolution of "
        "time, as of a ball that comes to rest, or of a rate that drives the state back to where "
        "it jumps; end the run before it, or give what rests a state of its own"
    )
    event = "a terminal event ended the run, as was asked for"
    interrupted = "the run was interrupted before its last time; it goes on from `state`"
    events = (
        "more events happened than there is room for: raise Real(max_events=...), or watch fewer"
    )
    history = (
        "a delay reads what the run no longer holds: raise Real(max_history=...), the number of "
        "steps that it keeps"
    )
    delay = (
        "a delay is not a positive number, or the run goes backward in time, where what a delay "
        "reads is not known yet"
    )
    switches = (
        "what depends on time alone switches more than 4,096 times in this run, or takes more than "
        "16,384 windows to search for them: make shorter runs, each from the state of the last"
    )
    times = (
        "the times, which were traced when the run was compiled, are not strictly monotone, do not "
        "go on from `state`, or are none of the calculus (whole samples within its span, or "
        "increasing with noise): sort them, take each once, and begin where `state` came to"
    )
    not_converged = (
        "no fixed point of a loop that no register cuts, or no steady state, was found: there may "
        "be none, or any number of them (a gain of exactly 1), or the solve starts too far away; "
        "try FixedPoint with a guess for one of its wires, other initial contents of a steady "
        "state, another method, damping, or more max_steps, or put a register on the loop"
    )


def lanes_that(status: Any, *members: Any) -> Any:
    """Which lanes of a known status are one of some members.

    By NumPy, where JAX would compile each comparison, if this process holds all lanes.
    """
    values = status._value
    if getattr(values, "is_fully_addressable", True):
        values = np.asarray(values)
    found = [values == member._value for member in members]
    return functools.reduce(operator.or_, found)


def message(name: str) -> str:
    """What a status says, by its name."""
    return cast(Any, Status)[getattr(Status, name)]
