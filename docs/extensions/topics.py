"""Which public name stands on which page of the API, in the order of reading."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Topic:
    """A page of the API: names of one module."""

    page: str
    title: str
    about: str
    names: tuple[str, ...]
    module: str = "asgard"


def topic(page: str, title: str, about: str, names: str, module: str = "asgard") -> Topic:
    return Topic(page, title, about, tuple(names.split()), module)


TOPICS = (
    topic(
        "functions",
        "Circuits from functions",
        "Python functions and right-hand sides as circuits: see [functions](../functions.md).",
        """circuit ode sde recurrence register stochastic_register jump_register delay unknown
        reset relay sample_hold counter""",
    ),
    topic(
        "language",
        "Equations and text",
        "See [equations](../equations.md), [circuits](../circuits.md) and "
        "[rewriting](../rewriting.md).",
        "equations to_equations to_latex parse rewrite simplify",
    ),
    topic(
        "terms",
        "Terms",
        "What a circuit is, and how circuits are put together: see [circuits](../circuits.md).",
        "Circuit Atom Block Composition Monoidal Trace",
    ),
    topic(
        "atoms",
        "Atoms of arithmetic and wiring",
        "Each has its value at a point: see [circuits](../circuits.md).",
        """Add Multiplication Divide Power Scalar Const Function Abs Arccos Arcsin Arctan Cos Cosh
        Erf Exp Log Maximum Minimum Sigmoid Sin Sinh Sqrt Tan Tanh Id Split Swap Permute Discard
        Var""",
    ),
    topic(
        "states",
        "Atoms with a state",
        "What holds something, and the coordinate itself: see [circuits](../circuits.md), "
        "[events](../events.md) and [delays](../delays.md).",
        """Register Deregister StochasticRegister JumpRegister Delay Unknown Reset Relay SampleHold
        Counter Pulse Clock Hybrid Coordinate Substitution TaylorPolynomial""",
    ),
    topic(
        "parameters",
        "Numbers and signals",
        "The numbers of a circuit by name, bounds on them, and what goes into wires.",
        "parameters update Positive Bounded Fixed Constraint Stream Samples",
    ),
    topic(
        "runs",
        "Runs",
        "See [simulation](../simulate.md), [series](../series.md), "
        "[ensembles](../stochastic.md) and [linear analysis](../linear.md).",
        """simulate ensemble series compile vector_field linearize equilibrium
        frequency_response""",
    ),
    topic(
        "results",
        "Results",
        "What runs return, and how they ended.",
        "Trajectory Ensemble Status Event Equilibrium Linearization",
    ),
    topic(
        "calculi",
        "Calculi and methods",
        "What a register does, and how that is computed: see [choosing](../choosing.md).",
        """Real Stochastic Discrete Steady Calculus FixedPoint Taylor Dopri8 Tsit5 Radau GMRES
        RungeKutta Tableau StepMethod Euler Heun Milstein Additive Weak2 StochasticMethod""",
    ),
    topic(
        "fitting",
        "Fitting",
        "See [fitting](../fit.md).",
        """fit fit_residuals fit_ensemble sensitivities uncertainty Fit FitEnsemble FitStatus
        Uncertainty""",
    ),
    topic(
        "pictures",
        "Pictures",
        "See [pictures](../pictures.md). Results have `plot` and more: see [results](results.md).",
        "draw Drawing plot_frequency_response",
    ),
    topic(
        "errors",
        "Errors",
        "What is wrong with a circuit or a call is said before anything compiles.",
        """CircuitError DegreeError DimensionError LoopError EquationError ParseError FitError
        SimulationError Interrupted IdentifiabilityWarning""",
    ),
    topic(
        "statistics",
        "Statistics: ag.statistics",
        "What `ag.ensemble(…, reduce=…)` keeps of the paths: see [ensembles](../stochastic.md).",
        "Mean Variance StandardError Moments Covariance Min Max Quantiles Histogram Reduction",
        "asgard.statistics",
    ),
    topic(
        "rules",
        "Rewriting rules: ag.rules",
        "Groups of rules for `ag.rewrite`: see [rewriting](../rewriting.md).",
        "Rule Rules check arithmetic calculus functions circuits",
        "asgard.rules",
    ),
    topic(
        "taylor",
        "The Taylor engine: ag.taylor",
        "Series of any function: see [the Taylor engine](../taylor.md).",
        "check_rules expand ode",
        "asgard.taylor",
    ),
    topic(
        "taylor_rules",
        "Rules of primitives: ag.taylor.rules",
        "Series of further primitives of JAX: see [the Taylor engine](../taylor.md).",
        "add_rule Linear Bilinear Frozen Rewrite Derivative Recurrence Built Refused",
        "asgard.taylor.rules",
    ),
)
# Classes that runs make and users do not: how they are made is not shown.
RETURNED = {
    "Trajectory",
    "Ensemble",
    "Equilibrium",
    "Linearization",
    "Fit",
    "FitEnsemble",
    "Uncertainty",
    "Drawing",
    "Status",
    "FitStatus",
    "Circuit",
    "CircuitError",
    "DegreeError",
    "DimensionError",
    "LoopError",
    "EquationError",
    "ParseError",
    "FitError",
    "SimulationError",
    "Interrupted",
    "IdentifiabilityWarning",
}
# Names of `asgard` that are modules, each with its own page.
NAMESPACES = ("rules", "statistics", "taylor")
