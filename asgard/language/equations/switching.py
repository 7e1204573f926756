"""The functions of equations that switch at events: one row each."""

import dataclasses

from ...circuits.atoms import events
from ...circuits.circuit import Atom


@dataclasses.dataclass(frozen=True)
class SwitchingAtom:
    """An atom that reads `wires` and holds numbers: the least and the most that it is given.

    Its function takes the wires first, of which the last is a trigger where `triggered`.
    """

    atom: type[Atom]
    wires: int
    numbers: tuple[int, int]
    triggered: bool = False

    @property
    def arity(self) -> tuple[int, int]:
        """How many arguments the function takes, at least and at most."""
        least, most = self.numbers
        return self.wires + least, self.wires + most


SWITCHING = {
    "relay": SwitchingAtom(events.Relay, 1, (2, 4)),
    "sample_hold": SwitchingAtom(events.SampleHold, 2, (0, 1), triggered=True),
    "counter": SwitchingAtom(events.Counter, 1, (0, 1), triggered=True),
    "pulse": SwitchingAtom(events.Pulse, 0, (1, 3)),
    "clock": SwitchingAtom(events.Clock, 0, (1, 2)),
}
