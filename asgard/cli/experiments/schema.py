"""What an experiment may say: every key, its kind, and what it is where it is left out."""

import dataclasses
from typing import Any

from ...fitting.least_squares import METHODS as LEAST_SQUARES
from . import calculi
from .document import Document, Path
from .kinds import (
    Choice,
    Count,
    Either,
    Flag,
    Listed,
    Name,
    Named,
    Number,
    Numbers,
    Section,
    Table,
    Text,
    Variant,
    did_you_mean,
    found,
    key,
)

OPTIMIZERS = ("adam", "adamw", "adabelief", "lbfgs", "rmsprop", "sgd")
MOST_TIMES = 100_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples(Section):
    """An input that is known at sample times."""

    path: Path
    values: Any = key(Numbers(), "the samples, one for each time")
    times: Any = key(Numbers(1), "their times", default=None)
    kind: str = key(
        Choice(("hold", "linear", "cubic")), "what is between two of them", default="hold"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Times(Section):
    """The times that are saved: the first, the last and how many, or all of them."""

    path: Path
    begin: float | None = key(
        Number(),
        "the first time, 0 by default, of a fit that of its data",
        default=None,
        name="from",
    )
    until: float | None = key(Number(), "the last time", default=None)
    points: int | None = key(Count(2, MOST_TIMES), "how many times are saved", default=None)
    at: Any = key(Numbers(1), "all times that are saved", default=None)
    unit: str | None = key(
        Text("a unit in a few letters", 40), "the unit of time, for labels", default=None
    )
    dim: str | None = key(
        Name(), "the dimension that is time, where there are several", default=None
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event(Section):
    """Something that a run watches."""

    path: Path
    name: str = key(Name(), "what the event is called")
    when: str = key(Text('a condition, such as "x > 1", or what passes zero'), "when it happens")
    direction: int = key(
        Choice((-1, 0, 1)), "1 where it rises through zero, -1 where it falls", default=0
    )
    terminal: bool = key(Flag(), "whether it ends the run", default=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit(Section):
    """Numbers that are fitted to data."""

    path: Path
    data: str = key(Text("the name of a CSV file"), "the data")
    time: str = key(Text("the name of a column"), "the column of times", default="t")
    columns: Any = key(
        Listed(Text(), "an array of wires", 1), "the wires that are compared", default=None
    )
    free: tuple[str, ...] = key(
        Listed(Text(), "an array of names of parameters", 1), "the numbers that move"
    )
    positive: tuple[str, ...] = key(
        Listed(Text(), "an array of names of parameters"), "those that stay above 0", default=()
    )
    bounds: dict[str, Any] = key(
        Named(Numbers(1), "a table of pairs [low, high]"), "bounds by name", default=dict
    )
    scale: str = key(
        Choice(("linear", "logarithmic")), "how data and model are compared", default="linear"
    )
    method: str = key(
        Choice((*LEAST_SQUARES, *OPTIMIZERS)), "how numbers move", default="levenberg_marquardt"
    )
    steps: int = key(Count(1, 1_000_000), "the most steps", default=100)
    learning_rate: float | None = key(
        Number("a number above 0", above=0.0), "the length of an optimizer's steps", default=None
    )
    uncertainty: bool = key(Flag(), "whether standard errors are computed", default=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expectation(Section):
    """What holds, as far as `rtol` and `atol` allow."""

    path: Path
    rtol: float = key(
        Number("a number that is 0 or more", least=0.0),
        "the allowed error, relative to the largest expected value",
        default=1e-9,
    )
    atol: float = key(
        Number("a number that is 0 or more", least=0.0), "the allowed error", default=0.0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpectedOutput(Expectation):
    """What a wire is."""

    output: str = key(Text("the name of a wire"), "the wire")
    formula: str | None = key(Text("a formula"), "its value at each time", default=None)
    at: Any = key(Numbers(1), "times of reference values", default=None)
    values: Any = key(Numbers(), "reference values, by default at all times", default=None)
    statistic: str = key(
        Choice(("mean", "variance")), "of an ensemble, what is compared", default="mean"
    )
    errors: float = key(
        Number("a number above 0", above=0.0),
        "of an ensemble, how many standard errors are allowed",
        default=4.0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpectedSeries(Expectation):
    """What the series of an output is."""

    output: str = key(Text("the name of a wire"), "the wire")
    derivatives: Any = key(Numbers(), "its derivatives", default=None)
    coefficients: Any = key(Numbers(), "its Taylor coefficients", default=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpectedParameter(Expectation):
    """What a fit finds."""

    parameter: str = key(Text("the name of a parameter"), "the number")
    value: float = key(Number(), "what it is")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpectedEvent(Expectation):
    """When an event happens."""

    event: str = key(Name(), "the event")
    times: Any = key(
        Listed(Either((Number(), Text()), "a number or a formula"), "an array of times"),
        "its first times",
    )
    count: int | None = key(Count(0, 1_000_000), "how often it happens", default=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output(Section):
    """What is drawn."""

    path: Path
    plot: tuple[str, ...] = key(
        Listed(Text(), "an array of wires"), "the wires drawn over time", default=()
    )
    phase: tuple[str, ...] = key(
        Listed(Text(), "a pair of wires", 2), "two wires, drawn against each other", default=()
    )


_EXPECTATIONS: dict[str, type[Section]] = {
    "output": ExpectedOutput,
    "parameter": ExpectedParameter,
    "event": ExpectedEvent,
    "derivatives": ExpectedSeries,
}


def _expectation(value: Any, path: Path, document: Document) -> str:
    """Which kind of expectation a table is."""
    if "derivatives" in value or "coefficients" in value:
        return "derivatives"
    for name in ("output", "parameter", "event"):
        if name in value:
            return name
    near = next((hint for one in value if (hint := did_you_mean(one, _EXPECTATIONS))), "")
    raise document.fault(
        path, f"says not what is expected: give one of the keys output, parameter and event{near}"
    )


def _calculus(value: Any, path: Path, document: Document) -> str:
    """Which calculus a table is of."""
    return Choice(tuple(calculi.CALCULI)).read(value.get("name", "real"), (*path, "name"), document)


_VALUE = Either((Number(), Numbers(), Text()), "a number, an array of numbers or a formula")
_INPUT = Either(
    (Number(), Numbers(), Text(), Table(Samples)),
    "a number, an array of numbers, a formula or a table of samples",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment(Section):
    """All that a file says."""

    path: Path
    title: str = key(Text("a text of one line", 200), "what the experiment is")
    description: str | None = key(Text(), "more about it", default=None)
    equations: str | None = key(Text("equations"), "the system", default=None)
    circuit: str | None = key(Text("the text of a circuit"), "the system", default=None)
    outputs: Any = key(
        Listed(Text(), "an array of names or expressions", 1), "what is computed", default=None
    )
    noise: tuple[str, ...] = key(
        Listed(Name(), "an array of names"), "the Wiener processes", default=()
    )
    parameters: dict[str, Any] = key(Named(_VALUE, "a table"), "numbers by name", default=dict)
    initial: dict[str, Any] = key(Named(_VALUE, "a table"), "initial values", default=dict)
    inputs: Any = key(
        Either(
            (Named(_INPUT, "a table"), Listed(_INPUT, "an array")),
            "a table by name, or an array for a circuit",
        ),
        "the inputs",
        default=dict,
    )
    calculus: Any = key(
        Variant(calculi.CALCULI, _calculus), "how it runs", default=lambda: calculi.RealOptions()
    )
    times: Times | None = key(Table(Times), "when it is looked at", default=None)
    events: tuple[Event, ...] = key(
        Listed(Table(Event), "an array of tables: write [[events]]"),
        "what the run watches",
        default=(),
    )
    fit: Fit | None = key(Table(Fit), "numbers fitted to data", default=None)
    expected: tuple[Any, ...] = key(
        Listed(Variant(_EXPECTATIONS, _expectation), "an array of tables: write [[expected]]"),
        "what must come out",
        default=(),
    )
    units: dict[str, str] = key(
        Named(Text("a unit in a few letters", 40), "a table of units"),
        "units by wire, for labels",
        default=dict,
    )
    output: Output = key(Table(Output), "what is drawn", default=lambda: Output(path=("output",)))


def read_experiment(document: Document) -> Experiment:
    """The experiment that a document says. Raises `InputError` for wrong keys and values."""
    experiment = Table(Experiment).read(document.values, (), document)
    if (experiment.equations is None) == (experiment.circuit is None):
        raise document.fault((), "give one of the keys equations and circuit, as a text")
    _check_system(experiment, document)
    _check_times(experiment, document)
    _check_expected(experiment, document)
    return experiment


def _check_system(experiment: Experiment, document: Document) -> None:
    """Raises for keys that do not go with equations, or not with the text of a circuit."""
    if experiment.equations is not None:
        if not isinstance(experiment.inputs, dict):
            raise document.fault(
                ("inputs",), f"found {found(list(experiment.inputs))}, expected a table by name"
            )
        for name in (*experiment.parameters, *experiment.inputs):
            where = "parameters" if name in experiment.parameters else "inputs"
            Name().read(name, (where, name), document)
        return
    if isinstance(experiment.inputs, dict) and experiment.inputs:
        raise document.fault(
            ("inputs",), "found a table, expected an array: a circuit's inputs have no names"
        )
    for name in ("initial", "outputs", "noise"):
        if getattr(experiment, name):
            raise document.fault((name,), "goes with equations; a circuit says it in its text")


def _check_times(experiment: Experiment, document: Document) -> None:
    times = experiment.times
    if times is None:
        if experiment.fit is None and experiment.calculus.needs_times:
            raise document.fault((), "the table times is missing: its key until is the last time")
        return
    if times.at is not None:
        for name, value in (("until", times.until), ("points", times.points)):
            if value is not None:
                raise document.fault(("times", name), "goes without the key at")
        if len(times.at) > MOST_TIMES:
            raise document.fault(("times", "at"), f"expected {MOST_TIMES:,} times at most")
    elif times.until is None and experiment.fit is None and experiment.calculus.needs_times:
        raise document.fault(("times",), "the key until is missing: the last time, a number")
    elif times.until == (times.begin or 0.0) and experiment.fit is None:
        raise document.fault(("times", "until"), "is the first time, too: expected another one")


def _check_expected(experiment: Experiment, document: Document) -> None:
    for one in experiment.expected:
        if isinstance(one, ExpectedOutput):
            if (one.formula is None) == (one.values is None):
                raise document.fault(one.path, "give one of the keys formula and values")
            if one.at is not None and one.values is None:
                raise document.fault((*one.path, "at"), "goes with the key values")
        if isinstance(one, ExpectedSeries):
            if (one.derivatives is None) == (one.coefficients is None):
                raise document.fault(one.path, "give one of the keys derivatives and coefficients")
            if experiment.calculus.name != "series":
                raise document.fault(one.path, 'is of a series: say name = "series" in calculus')
        if isinstance(one, ExpectedParameter) and experiment.fit is None:
            raise document.fault(one.path, "is of a fit, and there is no table fit")
        if isinstance(one, ExpectedOutput) and experiment.calculus.name == "series":
            raise document.fault(one.path, "a series has derivatives or coefficients")
