"""What a calculus is: a way to run a circuit."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..circuits.circuit import Circuit
from ..errors import CircuitError
from ..status import Status
from .events import Event
from .stretches import OneStretch, Stretches
from .trajectory import Trajectory


class Calculus(eqx.Module):
    """Says what a register does, and iterates the pure function that is left when they are cut.

    A calculus is a frozen pytree like a circuit: what is static recompiles, numbers do not.
    """

    # Whether a run goes on at the very time to which its state came alone, or also after it.
    gapless: ClassVar[bool] = False

    def settled(self, ts: Array) -> "Calculus":
        """The calculus with what it takes from known times made static; called before a trace."""
        return self

    def takes(self, ts: Array) -> Array:
        """Whether times that were traced, and are in order, are such as the calculus runs over:
        what `settled` says of known ones."""
        del ts
        return jnp.ones((), bool)

    def for_circuit(self, circuit: Circuit, ts: Array | None) -> "Calculus":
        """The calculus with what it takes from known numbers of a circuit, and of times where there
        are some, made static; called before a trace."""
        del circuit, ts
        return self

    def check_precision(self, dtype: Any) -> None:
        """Raises `CircuitError` where a run in a float dtype cannot do what the calculus asks."""
        del dtype

    def with_key(self, key: Any, path: Any) -> "Calculus":
        """The calculus that draws from a key for the path of this number; called before a trace.

        Raises `CircuitError` where either is given to a calculus that draws nothing.
        """
        if key is not None or not isinstance(path, int) or path != 0:
            raise CircuitError(
                f"{type(self).__name__} draws nothing: leave out key and path, which are for "
                "Stochastic"
            )
        return self

    def with_events(self, events: tuple[Event, ...]) -> "Calculus":
        """The calculus of a run that watches events; called before a trace.

        Raises `CircuitError` where there are some and the calculus watches none.
        """
        if events:
            raise CircuitError(
                f"{type(self).__name__} watches no events, which are for Real; read them off the "
                "outputs, or let an atom such as Counter or SampleHold keep them"
            )
        return self

    @abc.abstractmethod
    def simulate(
        self, circuit: Circuit, ts: Array, inputs: tuple[Any, ...], dim: str | None, state: Any
    ) -> Trajectory:
        """Runs a circuit over times, inside a trace; arguments as those of `asgard.simulate`."""

    def stretches(
        self, circuit: Circuit, ts: Array, inputs: tuple[Any, ...], dim: str | None, state: Any
    ) -> Stretches[Any]:
        """The run as a loop that stops and goes on, inside a trace; all of it is one turn unless a
        calculus says otherwise."""
        return OneStretch(lambda: self.simulate(circuit, ts, inputs, dim, state), ts)

    def compile(self, circuit: Circuit) -> Callable[[Any, Any], tuple[Any, Any]]:
        """The run as a pure function `fn(inputs, state) -> (outputs, state)`, where it has one."""
        del circuit
        raise CircuitError(
            f"compile has no meaning under {type(self).__name__}: simulate runs it over times"
        )


def check_types(state: Any, like: Any, *fields: str) -> None:
    """Raises `CircuitError` where a state is not of the type of another one, or holds arrays of
    other shapes and dtypes: in some fields, or anywhere if none is named."""

    def types(state: Any) -> list[Any]:
        parts = [getattr(state, name) for name in fields] if fields else state
        return [
            (part.shape, part.dtype) if hasattr(part, "dtype") else type(part)
            for part in jax.tree.leaves(parts)
        ]

    if type(state) is not type(like) or types(state) != types(like):
        raise CircuitError(
            f"state must be the state of an earlier run of this circuit, not {state!r:.60}"
        )


def check_trajectory(calculus: Calculus, circuit: Circuit, ts: Array, found: Any) -> None:
    """Raises `CircuitError` where what `simulate` returned is no trajectory of a circuit."""
    owner, times = f"{type(calculus).__name__}.simulate", ts.shape[0]
    if not isinstance(found, Trajectory):
        raise CircuitError(f"{owner} must return a Trajectory, not {type(found).__name__}")
    if not isinstance(found.outputs, tuple) or len(found.outputs) != circuit.n_out:
        raise CircuitError(
            f"{owner}: outputs must be a tuple of {circuit.n_out}, one array for each output wire, "
            f"not {found.outputs!r:.60}"
        )
    for name in ("names", "stats"):
        if not isinstance(getattr(found, name), dict):
            raise CircuitError(
                f"{owner}: {name} must be a dictionary by name, {{}} for nothing, not "
                f"{getattr(found, name)!r:.60}"
            )
    rows = {f"output {index}": output for index, output in enumerate(found.outputs)}
    for name, row in {**rows, **found.names}.items():
        if jnp.shape(row)[:1] != (times,):
            raise CircuitError(
                f"{owner}: {name} must have a row for each of the {times} times, but its shape is "
                f"{jnp.shape(row)}"
            )
    if not isinstance(found.status, Status):
        raise CircuitError(
            f"{owner}: status must be a Status, such as ag.Status.ok, not {found.status!r:.60}"
        )
