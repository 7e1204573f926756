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
from .ensemble import Ensemble, ensemble
from .errors import (
    CircuitError,
    DegreeError,
    DimensionError,
    LoopError,
    ParseError,
    SimulationError,
)
from .fixed_point import FixedPoint
from .notation.parse import parse
from .parameters import parameters, update
from .samples import Samples
from .series import series
from .simulate import compile, simulate
from .status import Status
from .stream import Stream
from .trajectory import Trajectory
