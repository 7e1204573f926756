"""What a system is that is said in several ways, and what its hand-wired forms share."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

import asgard as ag

# Before any array of a system is made: a float32 input of a float64 run is too rough for it.
jax.config.update("jax_enable_x64", True)

Build = Callable[..., ag.Circuit]


@dataclasses.dataclass(frozen=True)
class System:
    """A system said in the ways that apply to it.

    A way is a function of the numbers, by name, to a circuit. All give the same outputs in the same
    order. Those but `wired` have these numbers as parameters by these names.

    - `right_side`: by `ag.ode`, `ag.sde` or `ag.recurrence`; it and `equations` are None where
      they cannot say the system.
    - `inputs`: what the input wires carry in a run, which ends at `end`.
    - `method`: that of a run under `Real`, None for the default.
    - `calculus`: that of a run, where it is not `Real`; `key` is for one that draws.
    """

    name: str
    numbers: dict[str, Any]
    function: Build
    right_side: Build | None
    equations: Build | None
    wired: Build
    inputs: tuple[Any, ...] = ()
    end: float = 5.0
    method: ag.StepMethod | None = None
    calculus: ag.Calculus | None = None
    key: Any = None

    @property
    def forms(self) -> dict[str, Build]:
        """The ways to say the system, by name."""
        ways = {
            "wired": self.wired,
            "function": self.function,
            "right side": self.right_side,
            "equations": self.equations,
        }
        return {name: build for name, build in ways.items() if build is not None}

    def run(self, circuit: ag.Circuit) -> tuple[Any, ...]:
        """The outputs of a circuit at ten times, or eleven samples."""
        if isinstance(self.calculus, ag.Discrete):
            ts, calculus = np.arange(11.0), self.calculus
        else:
            ts = np.linspace(0.0, self.end, 10)
            calculus = self.calculus or ag.Real(method=self.method)
        drawn = {} if self.key is None else {"key": self.key}
        return ag.simulate(circuit, ts, inputs=self.inputs, calculus=calculus, **drawn).outputs


def from_text(
    text: str, outputs: Sequence[str], initial: dict[str, Any] | None = None, **options: Any
) -> Build:
    """A system by its equations. Its parameters are the numbers."""
    return lambda **numbers: ag.equations(
        text, parameters=numbers, initial=initial or {}, outputs=outputs, **options
    )


def flow(right_side: Callable[..., Any], start: Any) -> Build:
    """A system by its right-hand side."""
    return lambda **numbers: ag.ode(right_side, start, **numbers)


def looped(
    starts: Sequence[Any], *rates: tuple[Callable[..., Any], Sequence[int]], inputs: int = 0
) -> ag.Circuit:
    """Registers wired by hand to functions that give their rates.

    **Arguments:** `rates` has for each register a function, and the numbers of the wires that it
    reads: the registers', and then those of the input wires. The outputs are the registers'.
    """
    count, registers = len(starts), [ag.Register("t", start) for start in starts]
    # A trace closes the last wires, so the inputs come first.
    reads = [(index + inputs) % (count + inputs) for _, wires in rates for index in wires]
    functions = [ag.Function(fn, len(wires)) for fn, wires in rates]
    rate = fanned(count + inputs, reads) >> side_by_side(*functions)
    return closed(rate >> side_by_side(*registers), count)


def fanned(count: int, reads: Sequence[int]) -> ag.Circuit:
    """From some wires to those that are read of them, in the order of `reads`."""
    copies = [reads.count(index) for index in range(count)]
    begins = np.cumsum([0, *copies])
    order = [int(begins[wire]) + reads[:place].count(wire) for place, wire in enumerate(reads)]
    splits = [_split(number) for number in copies]
    return side_by_side(*splits) >> ag.Permute(tuple(order))


def side_by_side(*circuits: ag.Circuit) -> ag.Circuit:
    """Circuits beside each other."""
    first, *others = circuits
    return ag.Monoidal(first, *others) if others else first


def closed(body: ag.Circuit, count: int) -> ag.Circuit:
    """The loop that feeds the outputs of a circuit back to its last inputs, and gives them."""
    order = (*range(0, 2 * count, 2), *range(1, 2 * count, 2))
    return (body >> side_by_side(*[ag.Split()] * count) >> ag.Permute(order)).trace(count)


def _split(count: int) -> ag.Circuit:
    if count == 0:
        return ag.Discard()
    return ag.Id() if count == 1 else ag.Split(count)
