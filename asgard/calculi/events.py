"""Events of runs: what a run watches, and what it saw."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Int, Shaped

from ..circuits.atoms.functions import Function
from ..errors import CircuitError
from ..jaxprs.own_functions import check_takes
from .trajectory import Outputs


class Event(eqx.Module):
    """Something that a run watches: a number that passes zero.

    **Arguments:**

    - `watched`: the name of a wire (`Var`), or a function of the time and of the named wires, a
      dictionary, that returns one real number, such as `lambda t, wires: wires["height"] - 1.0`.
    - `direction`: 1 for where it rises through zero, -1 for where it falls, 0 for both; in the
      direction of the run.
    - `terminal`: whether the run ends at the first such event, with the status `event`. Later
      outputs are NaN, and `trajectory.reached` is the time.
    - `name`: its key in `trajectory.events`; by default the wire's or the function's name.

    **Raises:** `CircuitError` for arguments of another kind.

    ```python
    landed = ag.Event("height", direction=-1, terminal=True)
    ag.simulate(ball, [0.0, 10.0], events=(landed,)).reached
    ```
    """

    wire: str | None = eqx.field(static=True)
    function: Function | None
    direction: int = eqx.field(static=True)
    terminal: bool = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __init__(
        self,
        watched: str | Callable[[Array, Mapping[str, Array]], Any],
        direction: int = 0,
        terminal: bool = False,
        name: str | None = None,
    ):
        if not isinstance(watched, str) and not callable(watched):
            raise CircuitError(
                f"Event: give the name of a wire or a function of time and wires, not {watched!r}"
            )
        if type(direction) is not int or direction not in (-1, 0, 1):
            raise CircuitError(f"Event: direction must be -1, 0 or 1, not {direction!r}")
        if not isinstance(terminal, bool):
            raise CircuitError(f"Event: terminal must be True or False, not {terminal!r}")
        if name is not None and not isinstance(name, str):
            raise CircuitError(f"Event: name must be a text, not {name!r}")
        own = watched if isinstance(watched, str) else getattr(watched, "__name__", "event")
        if not isinstance(watched, str):
            check_takes(f"Event {name or own!r}", watched, "the time", "the named wires")
        self.wire = watched if isinstance(watched, str) else None
        self.function = None if isinstance(watched, str) else Function(watched, 2, 1)
        self.direction, self.terminal, self.name = direction, terminal, name or own


class Occurrences(Outputs):
    """When an event happened in a run, and what its wires were just before any jump there.

    - `times`: the times in order, `[max_events]`, NaN past the last.
    - `count`: how many there are.
    - `outputs`, `names`: the output wires and the named ones at these times, as in a `Trajectory`.
    """

    times: Float[Array, " events"]
    count: Int[Array, ""]
    outputs: tuple[Shaped[Array, "events ..."], ...]
    names: dict[str, Shaped[Array, "events ..."]]


def checked(events: Any) -> tuple[Event, ...]:
    """Events as a tuple; raises `CircuitError` for what is none, and for names that are not
    distinct."""
    found = (events,) if isinstance(events, Event) else events
    if not isinstance(found, tuple | list) or not all(isinstance(one, Event) for one in found):
        raise CircuitError(
            f"events must be an ag.Event, or a tuple of ag.Event, not {events!r:.60}: give the "
            'name of a wire, ag.Event("x"), or a function, '
            'ag.Event(lambda t, wires: wires["x"] - 0.5)'
        )
    names = [event.name for event in found]
    for name in names:
        if names.count(name) > 1:
            raise CircuitError(f"events: {names.count(name)} events are named {name!r}: give names")
    return tuple(found)
