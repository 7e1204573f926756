"""Asgard: dynamical systems as typed circuits, in JAX."""

import types as _types

from . import taylor
from .calculi.calculus import Calculus
from .calculi.discrete.calculus import Discrete
from .calculi.events import Event
from .calculi.real.calculus import Real
from .calculi.real.methods.method import StepMethod
from .calculi.real.methods.radau.krylov import GMRES
from .calculi.real.methods.radau.method import Radau
from .calculi.real.methods.runge_kutta import Dopri8, RungeKutta, Tsit5
from .calculi.real.methods.tableau import Tableau
from .calculi.real.methods.taylor import Taylor
from .calculi.steady import Steady
from .calculi.stochastic.calculus import Stochastic
from .calculi.stochastic.methods import (
    Additive,
    Euler,
    Heun,
    Milstein,
    StochasticMethod,
    Weak2,
)
from .calculi.trajectory import Trajectory
from .circuits.atoms.arithmetic import Add, Const, Divide, Multiplication, Power, Scalar
from .circuits.atoms.events import Clock, Counter, Hybrid, Pulse, Relay, Reset, SampleHold
from .circuits.atoms.functions import (
    Abs,
    Arccos,
    Arcsin,
    Arctan,
    Cos,
    Cosh,
    Erf,
    Exp,
    Function,
    Log,
    Maximum,
    Minimum,
    Sigmoid,
    Sin,
    Sinh,
    Sqrt,
    Tan,
    Tanh,
)
from .circuits.atoms.registers import (
    Coordinate,
    Delay,
    Deregister,
    JumpRegister,
    Register,
    StochasticRegister,
    Substitution,
    TaylorPolynomial,
)
from .circuits.atoms.unknown import Unknown
from .circuits.atoms.wiring import Discard, Id, Permute, Split, Swap, Var
from .circuits.circuit import Atom, Block, Circuit, Composition, Monoidal, Trace
from .circuits.constraints import Bounded, Constraint, Fixed, Positive
from .circuits.parameters import parameters, update
from .circuits.samples import Samples
from .circuits.stream import Stream
from .errors import (
    CircuitError,
    DegreeError,
    DimensionError,
    EquationError,
    FitError,
    IdentifiabilityWarning,
    Interrupted,
    LoopError,
    ParseError,
    SimulationError,
)
from .fitting.fit import fit
from .fitting.least_squares import fit_residuals
from .fitting.many import FitEnsemble, fit_ensemble
from .fitting.result import Fit, FitStatus
from .fitting.sensitivity import Uncertainty, sensitivities, uncertainty
from .fixed_points.options import FixedPoint
from .language.equations.equations import equations
from .language.equations.writing import to_equations, to_latex
from .language.functions.block import circuit
from .language.functions.states import (
    counter,
    delay,
    jump_register,
    register,
    relay,
    reset,
    sample_hold,
    stochastic_register,
    unknown,
)
from .language.functions.systems import ode, recurrence, sde
from .language.parse import parse
from .language.rewriting import rules
from .language.rewriting.rewrite import rewrite
from .language.rewriting.simplify import simplify
from .pictures.draw import Drawing, draw
from .pictures.plots.response import plot_frequency_response
from .runs import statistics
from .runs.ensemble_result import Ensemble
from .runs.ensembles import ensemble
from .runs.equilibrium import Equilibrium, equilibrium
from .runs.linear import Linearization, frequency_response, linearize
from .runs.series import series
from .runs.simulation import compile, simulate
from .runs.vector_field import vector_field
from .status import Status

_NAMESPACES = ("rules", "statistics", "taylor")


def __dir__() -> list[str]:
    """The public names. Submodules can be imported, but only three of them are public."""
    return sorted(
        name
        for name, value in globals().items()
        if name in _NAMESPACES or not (name.startswith("_") or isinstance(value, _types.ModuleType))
    )


__all__ = __dir__()  # pyright: ignore[reportUnsupportedDunderAll]
