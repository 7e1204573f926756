"""Asgard: dynamical systems as typed circuits, in JAX."""

from . import statistics, taylor
from .atoms.arithmetic import Add, Const, Divide, Multiplication, Power, Scalar
from .atoms.functions import (
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
from .atoms.registers import (
    Coordinate,
    Delay,
    Deregister,
    JumpRegister,
    Register,
    StochasticRegister,
    Substitution,
    TaylorPolynomial,
)
from .atoms.wiring import Discard, Id, Permute, Split, Swap, Var
from .calculi.calculus import Calculus
from .calculi.discrete import Discrete
from .calculi.real import Real
from .calculi.stochastic import Stochastic
from .circuit import Atom, Block, Circuit, Composition, Monoidal, Trace
from .constraints import Bounded, Fixed, Positive
from .ensemble import Ensemble, ensemble
from .errors import (
    CircuitError,
    DegreeError,
    DimensionError,
    FitError,
    IdentifiabilityWarning,
    LoopError,
    ParseError,
    SimulationError,
)
from .fixed_point import FixedPoint
from .notation.parse import parse
from .optimize.fit import fit
from .optimize.least_squares import fit_residuals
from .optimize.many import FitEnsemble, fit_ensemble
from .optimize.result import Fit, FitStatus
from .optimize.sensitivity import Uncertainty, sensitivities, uncertainty
from .parameters import parameters, update
from .samples import Samples
from .series import series
from .simulate import compile, simulate
from .status import Status
from .stream import Stream
from .trajectory import Trajectory
