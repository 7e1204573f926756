"""A cut circuit as a stochastic differential equation, for one path.

Every state atom holds one part of the state. What goes into a register is its drift, and so is the
rate of a hybrid atom, whose jumps come after a step (`events`). What goes into a stochastic
register is multiplied by the increment of its noise, component by component; what goes into a jump
register, by the sum of the jumps of a step.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ...circuits.atoms.events import Hybrid
from ...circuits.atoms.registers import Delay, JumpRegister, Register, StochasticRegister
from ...circuits.terms import brief
from ...errors import CircuitError
from ..convergence import Solves, worst
from ..pointwise import Contents, Feeds, Guesses, Pointwise
from .change import Change
from .correlation import Correlation
from .jumps import Jumps
from .noise import Source

Increments = Mapping[str, Array]


class After(eqx.Module):
    """What a step gives: the contents after it, and how loops without registers were solved in it.

    `Stage.after` makes one.
    """

    contents: Contents
    solves: Solves | None


class Held:
    """At which times held samples are read: a stage at the start of a step reads just after it, and
    others just before their time, by `beside` of the dtype. So one that ends at a sample's time
    reads the sample before."""

    def __init__(self, beside: Callable[[Any], Array]):
        self.beside, self._begin = beside, None

    def at(self, t: Array) -> Array:
        """The time to read at, for a time."""
        beside = self.beside(t.dtype)
        if self._begin is None:
            return t + beside
        return jnp.where(t == self._begin, t + beside, t - beside)

    @contextlib.contextmanager
    def of_step(self, begin: Array) -> Iterator[None]:
        """A context in which times are those of stages of a step that begins at a time."""
        outer, self._begin = self._begin, begin
        try:
            yield
        finally:
            self._begin = outer


class Equation:
    """The equation of a cut circuit: its `sources` of noise, and its `jumps`."""

    def __init__(self, pointwise: Pointwise, correlation: Correlation, held: "Held"):
        self.held = held
        self.pointwise, self.jumps = pointwise, Jumps(pointwise)
        _shapes(pointwise, JumpRegister)
        shapes = _shapes(pointwise, StochasticRegister)
        self.sources = tuple(Source(name, shape) for name, shape in shapes.items())
        self.correlation, self.factor = correlation, None
        if correlation.pairs:
            check_sources("correlation", correlation.names, shapes)
            if len({shapes[name] for name in correlation.names}) > 1:
                raise CircuitError("correlated noises have components of one shape")
            self.factor = jnp.linalg.cholesky(correlation.matrix())

    @property
    def size(self) -> int:
        """How many independent Wiener processes there are, components counted."""
        return sum(math.prod(source.shape) for source in self.sources)

    @property
    def diffusions(self) -> dict[int, StochasticRegister]:
        """The stochastic registers, by their index among the state atoms."""
        return {
            index: node.atom
            for index, node in enumerate(self.pointwise.states)
            if isinstance(node.atom, StochasticRegister)
        }

    @property
    def delays(self) -> frozenset[int]:
        """The delays, by their index among the state atoms."""
        states = enumerate(self.pointwise.states)
        return frozenset(index for index, node in states if isinstance(node.atom, Delay))

    def at(
        self, t: Array, contents: Contents, guesses: Guesses, begin: Array | None = None
    ) -> "Stage":
        """The equation at one time and state, in a step that begins at a time, by default there."""
        begin = t if begin is None else begin
        with self.held.of_step(begin):
            feeds = self.pointwise.feeds(t, contents, guesses)
        return Stage(self, t, contents, feeds, begin)

    def reads(self, index: int) -> frozenset[int]:
        """The state atoms, by index, on whose content the feed of one depends."""
        states = self.pointwise.states
        driver = {wire: node for node in self.pointwise.cut.nodes for wire in node.outs}
        holders = {node.outs[0]: number for number, node in enumerate(states)}
        pending, met, found = [states[index].ins[0]], set(), set()
        while pending:
            wire = pending.pop()
            if wire in holders:
                found.add(holders[wire])
            elif wire in driver and wire not in met:
                met.add(wire)
                pending.extend(driver[wire].ins)
        return frozenset(found)


@dataclasses.dataclass(frozen=True)
class Stage:
    """An equation evaluated at one time and state: the drifts and diffusions there.

    `contents` is the state, a tuple with an array for each state atom; `feeds` what goes into them;
    `begin` the time at which the step begins.
    """

    equation: Equation
    t: Array
    contents: Contents
    feeds: Feeds
    begin: Array

    def drift(self, length: Any) -> Change:
        """The drifts times a length of time; 0 for other state atoms."""
        return self._change(length, None)

    def diffusion(self, increments: Increments) -> Change:
        """The diffusions times increments of the independent sources; 0 for other state atoms."""
        self._check_increments(increments)
        return self._change(None, increments)

    def change(self, length: Any, increments: Increments) -> Change:
        """The sum of both."""
        self._check_increments(increments)
        return self._change(length, increments)

    def plus(self, *changes: Change) -> Contents:
        """The contents with some changes added."""
        for change in changes:
            if not isinstance(change, Change) or not self._is_like_contents(change.parts):
                raise CircuitError(
                    "plus of a stochastic step takes changes of the shapes of start.contents, as "
                    f"start.drift(h) gives them, not {change!r:.80}"
                )
        parts = (change.parts for change in changes)
        return jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), self.contents, *parts)

    def at(self, t: Array, contents: Contents) -> "Stage":
        """The equation at another time and state."""
        self._check_contents("at", contents)
        return self.equation.at(t, contents, self.feeds.guesses, self.begin)

    def after(self, contents: Contents, *stages: "Stage") -> After:
        """The end of the step that starts at this stage; `stages` are the others that it read."""
        self._check_contents("after", contents)
        if not all(isinstance(stage, Stage) for stage in stages):
            raise CircuitError(
                "after of a stochastic step takes the contents, and then the stages that it read, "
                f"as start.at(t, contents) gives them, not {stages!r:.80}"
            )
        return After(contents, self.solves(*stages))

    def solves(self, *stages: "Stage") -> Solves | None:
        """How loops were solved at this stage and at others."""
        return worst(self.feeds.solves, *(stage.feeds.solves for stage in stages))

    def _is_like_contents(self, given: Any) -> bool:
        shapes = [part.shape for part in self.contents]
        return isinstance(given, tuple | list) and [jnp.shape(part) for part in given] == shapes

    def _check_contents(self, name: str, given: Any) -> None:
        """Raises `CircuitError` where a method hands over something else than contents."""
        if not self._is_like_contents(given):
            raise CircuitError(
                f"{name} of a stochastic step takes contents, as start.plus(...) gives them, not "
                f"{given!r:.80}"
            )

    def _check_increments(self, increments: Any) -> None:
        """Raises `CircuitError` where a method gives no increments by source."""
        names = [source.name for source in self.equation.sources]
        if not isinstance(increments, Mapping):
            raise CircuitError(
                "a diffusion takes increments by source, such as noise.increment, not "
                f"{increments!r:.80}"
            )
        if set(increments) != set(names):
            raise CircuitError(
                f"a diffusion takes one increment for each source, which are {', '.join(names)}, "
                f"not for {', '.join(map(str, increments)) or 'none'}"
            )
        for source in self.equation.sources:
            shape = jnp.shape(increments[source.name])
            if shape not in ((), source.shape):  # a number is the same for all components
                raise CircuitError(
                    f"a diffusion takes increments of the shapes of noise.increment: that of "
                    f"{source.name} must be of shape {source.shape}, not {shape}"
                )

    def _change(self, length: Any, independent: Increments | None) -> Change:
        factor, increments = self.equation.factor, independent
        if increments is not None and factor is not None:
            increments = self.equation.correlation.mixed(factor, increments)
        found = []
        for node, value in zip(self.equation.pointwise.states, self.feeds.values, strict=True):
            if isinstance(node.atom, Register | Hybrid) and length is not None:
                found.append(value * jnp.asarray(length).astype(value.dtype))
            elif isinstance(node.atom, StochasticRegister) and increments is not None:
                found.append(value * increments[node.atom.noise].astype(value.dtype))
            else:
                found.append(jnp.zeros_like(value))
        return Change(tuple(found))


def _shapes(
    pointwise: Pointwise, kind: type[StochasticRegister | JumpRegister]
) -> dict[str, tuple[int, ...]]:
    """The shape of each noise that registers of a kind name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for node, content in zip(pointwise.states, pointwise.begin(), strict=True):
        if not isinstance(node.atom, kind):
            continue
        name = node.atom.noise
        if shapes.setdefault(name, content.shape) != content.shape:
            raise CircuitError(
                f"{brief(node.atom)}: the noise {name} has components of shape "
                f"{shapes[name]} in one register and {content.shape} in another; registers that "
                "share a noise hold values of one shape",
                atoms=[node.atom],
            )
    return shapes


def check_sources(option: str, names: Iterable[str], sources: Iterable[str]) -> None:
    """Raises `CircuitError` where an option names a source that is none of the circuit's."""
    known = tuple(sources)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CircuitError(
            f"{option} names {', '.join(unknown)}; the circuit's noises are "
            f"{', '.join(known) or 'none'}"
        )
