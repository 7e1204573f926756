"""The calculi by name, with their options and methods."""

import dataclasses
from typing import Any, ClassVar

from ...calculi.calculus import Calculus
from ...calculi.discrete.calculus import Discrete
from ...calculi.real.calculus import Real
from ...calculi.real.methods.radau.method import Radau
from ...calculi.real.methods.runge_kutta import Dopri8, Tsit5
from ...calculi.real.methods.taylor import Taylor
from ...calculi.steady import Steady
from ...calculi.stochastic.calculus import Stochastic
from ...calculi.stochastic.methods import METHODS
from ...fixed_points.options import FixedPoint
from .document import Path
from .kinds import Choice, Count, Either, Flag, Named, Number, Section, Text, key

_METHODS = ("taylor", "tsit5", "dopri8", "radau")
_TOLERANCE = Number("a number that is 0 or more", least=0.0)
_MOST_STEPS = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Section):
    """The options of a calculus."""

    path: Path = ("calculus",)
    name: str = key(Text(), "the calculus", default="real")
    loops: str = key(
        Choice(("auto", "newton", "picard")),
        "how loops without registers are solved",
        default="auto",
    )

    needs_times: ClassVar[bool] = True

    @property
    def fixed_point(self) -> FixedPoint:
        return FixedPoint(self.loops)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RealOptions(Options):
    method: str | None = key(Choice(_METHODS), "how a step is made", default=None)
    order: int | None = key(Count(2, 60), "the order of Taylor steps", default=None)
    stages: int = key(Choice((3, 5, 7)), "the stages of radau", default=5)
    rtol: float | None = key(_TOLERANCE, "the relative error of a step", default=None)
    atol: float | None = key(_TOLERANCE, "the absolute error of a step", default=None)
    max_steps: int = key(Count(1, _MOST_STEPS), "the most steps", default=16**4)
    max_step: float | None = key(
        Number("a number above 0", above=0.0), "the longest step", default=None
    )
    max_events: int = key(Count(1, 100_000), "the most events that are kept", default=256)
    noise: str = key(Choice(("error", "off")), "off runs the drift alone", default="error")

    def calculus(self) -> Calculus:
        method = {
            "taylor": lambda: Taylor() if self.order is None else Taylor(self.order),
            "tsit5": Tsit5,
            "dopri8": Dopri8,
            "radau": lambda: Radau(self.stages),
        }
        return Real(
            method=None if self.method is None else method[self.method](),
            order=self.order if self.method is None else None,
            rtol=self.rtol,
            atol=self.atol,
            max_steps=self.max_steps,
            max_step=self.max_step,
            max_events=self.max_events,
            noise=self.noise,
            fixed_point=self.fixed_point,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StochasticOptions(Options):
    method: str = key(Choice(tuple(METHODS)), "how a step is made", default="euler")
    steps: int | None = key(Count(1, _MOST_STEPS), "steps between two saved times", default=None)
    dt: float | None = key(Number("a number above 0", above=0.0), "the longest step", default=None)
    paths: int = key(Count(2, 1_000_000), "the number of paths", default=1000)
    seed: int = key(Count(0, 2**32 - 1), "what random numbers begin with", default=0, name="key")
    interpretation: str = key(Choice(("ito", "stratonovich")), "of the integrals", default="ito")
    commutative: bool = key(Flag(), "whether noises commute", default=False)

    def calculus(self) -> Calculus:
        return Stochastic(
            steps=self.steps,
            dt=self.dt,
            method=self.method,
            interpretation=self.interpretation,
            commutative=self.commutative,
            fixed_point=self.fixed_point,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscreteOptions(Options):
    register: str = key(Choice(("sum", "delay")), "what a register does", default="sum")

    def calculus(self) -> Calculus:
        return Discrete(register=self.register, fixed_point=self.fixed_point)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SteadyOptions(Options):
    loops: str = key(
        Choice(("auto", "newton", "picard")), "how the steady state is found", default="newton"
    )

    needs_times: ClassVar[bool] = False

    def calculus(self) -> Calculus:
        return Steady(fixed_point=self.fixed_point)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeriesOptions(Options):
    """The series of the outputs about 0: no run, so no calculus of runs."""

    order: Any = key(
        Either((Count(0, 10_000), Named(Count(0, 10_000), "")), "an order, or a table of orders"),
        "the highest order, or one for each dimension",
    )

    needs_times: ClassVar[bool] = False


CALCULI: dict[str, type[Options]] = {
    "real": RealOptions,
    "stochastic": StochasticOptions,
    "discrete": DiscreteOptions,
    "steady": SteadyOptions,
    "series": SeriesOptions,
}
