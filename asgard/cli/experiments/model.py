"""From an experiment to what runs: a circuit, its inputs, times and events."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ...calculi import events as watching
from ...calculi.calculus import Calculus
from ...circuits.circuit import Circuit
from ...circuits.constraints import Bounded, Positive
from ...circuits.graph import Graph, flatten
from ...circuits.parameters import parameters, update
from ...circuits.samples import Samples
from ...circuits.stream import Stream
from ...errors import CircuitError
from ...language.equations.equations import equations
from ...language.parse import parse
from ..faults import InputError, advised
from . import schema
from .document import Document, Path
from .formula import AtTime, Formula, Watched, read_formula
from .kinds import did_you_mean
from .numbers import with_numbers
from .times import saved_times


@dataclasses.dataclass(frozen=True)
class Model:
    """What an experiment runs.

    - `labels`: the names of the outputs, in their order; `wires` has these and all named wires.
    - `time`: the dimension that is time; `dims` are all.
    - `formulas`: the formula of each expectation that has one, by its place among them.
    - `ts`: the times that are saved; None of a series.
    """

    experiment: schema.Experiment
    document: Document
    circuit: Circuit
    labels: tuple[str, ...]
    wires: tuple[str, ...]
    dims: tuple[str, ...]
    time: str
    inputs: tuple[Any, ...]
    events: tuple[watching.Event, ...]
    formulas: Mapping[Path, Formula]
    calculus: Calculus | None
    ts: np.ndarray | None

    def check_wire(self, name: str, path: Path) -> None:
        """Raises `InputError` for the name of no wire; of an array an entry is one, `x[0]`."""
        if name not in self.wires and re.sub(r"\[[\d, ]+\]$", "", name) not in self.wires:
            hint = did_you_mean(name, self.wires) or f"; they are {', '.join(self.wires)}"
            raise self.document.fault(path, f"there is no wire {name}{hint}")

    def numbers(self, circuit: Circuit) -> dict[str, Any]:
        """The numbers of the circuit by name, for formulas."""
        return {name: np.asarray(value) for name, value in parameters(circuit).items()}

    @property
    def units(self) -> dict[str, str]:
        """The units of wires and of time, for labels."""
        times = self.experiment.times
        own = {} if times is None or times.unit is None else {"time": times.unit}
        return {**self.experiment.units, **own}


def build(experiment: schema.Experiment, document: Document) -> Model:
    """The model of an experiment. Raises `InputError` for what does not fit together."""
    experiment = with_numbers(experiment, document)
    circuit = _circuit(experiment, document)
    graph = _flat(circuit, experiment, document)
    time = _time(experiment, document, graph)
    labels = _labels(experiment, graph)
    named = [name for name, wires in graph.names.items() if len(wires) == 1]
    series = experiment.calculus.name == "series"
    model = Model(
        experiment,
        document,
        circuit,
        labels,
        tuple(dict.fromkeys([*labels, *named])),
        graph.dims,
        time,
        _inputs(experiment, document, circuit, graph, time),
        (),
        {},
        None if series else _calculus(experiment, document),
        None if series else saved_times(experiment, document),
    )
    _check_names(model)
    return dataclasses.replace(model, events=_events(model, named), formulas=dict(_formulas(model)))


def _circuit(experiment: schema.Experiment, document: Document) -> Circuit:
    if experiment.circuit is not None:
        return _parsed(experiment, document)
    numbers, initial = _constrained(experiment, document)
    text = experiment.equations
    assert text is not None
    try:
        return equations(
            text,
            parameters=numbers,
            initial=initial,
            inputs=tuple(experiment.inputs),
            noise=experiment.noise,
            outputs=experiment.outputs,
        )
    except CircuitError as error:
        raise _fault_of_equations(error, document) from None


def _fault_of_equations(error: CircuitError, document: Document) -> InputError:
    """The error of equations in terms of the file: in the text, or in another key."""
    plain = re.sub(r"^line \d+, column \d+: ", "", advised(str(error), bool(document.name)))
    found = re.match(r"(parameters|initial|inputs|noise|outputs): ", plain)
    if found is not None:
        return document.fault(_at_fault(found[1], plain, document), plain[found.end() :])
    if error.line is None:
        return document.fault(("equations",), plain)
    return document.fault_within(("equations",), error, plain)


def _at_fault(key: str, message: str, document: Document) -> Path:
    """The path of the text that an error about a key shows in its second line."""
    shown, given = [*message.split("\n"), "", ""][1].strip(), document.values.get(key)
    pairs = given.items() if isinstance(given, dict) else enumerate(given or ())
    for name, value in pairs:
        if shown and shown in (str(name), value):
            return (key, name)
    return (key,)


def _constrained(
    experiment: schema.Experiment, document: Document
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and initial values, under the constraints of a fit."""
    numbers, initial = dict(experiment.parameters), dict(experiment.initial)
    fit = experiment.fit
    if fit is None:
        return numbers, initial
    wanted = [(name, ("fit", "positive", index)) for index, name in enumerate(fit.positive)]
    wanted += [(name, ("fit", "bounds", name)) for name in fit.bounds]
    for name, path in wanted:
        table, own = numbers, name
        if name not in numbers and name.startswith("initial."):
            table, own = initial, name.removeprefix("initial.")
        if own not in table or isinstance(table[own], str):
            known = [*numbers, *(f"initial.{one}" for one in initial)]
            raise document.fault(path, f"there is no number {name}{did_you_mean(name, known)}")
        try:
            if path[1] == "positive":
                table[own] = Positive(table[own])
            else:
                table[own] = Bounded(table[own], *fit.bounds[name])
        except (CircuitError, TypeError) as error:
            raise document.fault(path, f"expected a pair [low, high]: {error}") from None
    return numbers, initial


def _parsed(experiment: schema.Experiment, document: Document) -> Circuit:
    text = experiment.circuit
    assert text is not None
    try:
        circuit = parse(text)
    except CircuitError as error:
        raise document.fault_within(("circuit",), error) from None
    if experiment.fit is not None and (experiment.fit.positive or experiment.fit.bounds):
        raise document.fault(("fit",), "positive and bounds go with equations")
    known = parameters(circuit)
    for name, value in experiment.parameters.items():
        if name not in known:
            hint = did_you_mean(name, known) or f"; they are {', '.join(known) or 'none'}"
            raise document.fault(("parameters", name), f"the circuit has no such number{hint}")
        try:
            circuit = update(circuit, {name: value})
        except CircuitError as error:
            raise document.fault(("parameters", name), str(error)) from None
    return circuit


def _flat(circuit: Circuit, experiment: schema.Experiment, document: Document) -> Graph:
    try:
        return flatten(circuit)
    except CircuitError as error:
        raise document.fault((_system(experiment),), str(error)) from None


def _system(experiment: schema.Experiment) -> str:
    """The key that says the system."""
    return "circuit" if experiment.equations is None else "equations"


def _time(experiment: schema.Experiment, document: Document, graph: Graph) -> str:
    given = None if experiment.times is None else experiment.times.dim
    if given is not None:
        if given not in graph.dims:
            known = ", ".join(graph.dims) or "none"
            path = ("times", "dim")
            raise document.fault(path, f"{given} is no dimension of the system; they are {known}")
        return given
    return graph.dims[0] if len(graph.dims) == 1 else "t"


def _labels(experiment: schema.Experiment, graph: Graph) -> tuple[str, ...]:
    if experiment.outputs is not None:
        return tuple(experiment.outputs)
    names = {wires[0]: name for name, wires in graph.names.items() if len(wires) == 1}
    alone = len(graph.outputs) == 1
    return tuple(
        names.get(wire, "output" if alone else f"output {index}")
        for index, wire in enumerate(graph.outputs)
    )


def _calculus(experiment: schema.Experiment, document: Document) -> Calculus:
    try:
        return experiment.calculus.calculus()
    except CircuitError as error:
        raise document.fault(("calculus",), str(error)) from None


def _inputs(
    experiment: schema.Experiment, document: Document, circuit: Circuit, graph: Graph, time: str
) -> tuple[Any, ...]:
    given = experiment.inputs
    pairs = given.items() if isinstance(given, dict) else enumerate(given)
    if len(given) != circuit.n_in:
        expected = f"expected {circuit.n_in} inputs, as the circuit has, and not {len(given)}"
        raise document.fault(("inputs",) if given else (_system(experiment),), expected)
    along = (*graph.dims, "t")[0]
    return tuple(
        _stream(value, ("inputs", name), document, along)
        if experiment.calculus.name == "series"
        else _input(value, ("inputs", name), document, circuit, time)
        for name, value in pairs
    )


def _stream(value: Any, path: Path, document: Document, dim: str) -> Stream:
    if isinstance(value, str | schema.Samples):
        raise document.fault(path, "expected the Taylor coefficients of the input, as a series has")
    return Stream(np.atleast_1d(value), dim)


def _input(value: Any, path: Path, document: Document, circuit: Circuit, time: str) -> Any:
    if isinstance(value, schema.Samples):
        try:
            return Samples(value.values, value.times, value.kind)
        except CircuitError as error:
            raise document.fault(path, str(error)) from None
    if not isinstance(value, str):
        return value
    numbers = {name: np.asarray(one) for name, one in parameters(circuit).items()}
    of = f"{time}, parameters and initial values"
    formula = read_formula(value, [time, *numbers], path, document, of)
    return AtTime(formula, time), {name: numbers[name] for name in formula.names & numbers.keys()}


def _events(model: Model, named: list[str]) -> tuple[watching.Event, ...]:
    document, found = model.document, []
    if model.experiment.events and model.experiment.calculus.name != "real":
        raise document.fault(("events", 0), "events are watched under the calculus real alone")
    numbers = model.numbers(model.circuit)
    known = [model.time, *numbers, *named]
    for index, event in enumerate(model.experiment.events):
        path = ("events", index)
        if event.name in [earlier.name for earlier in found]:
            raise document.fault((*path, "name"), f"there are two events {event.name}")
        of = f"{model.time}, wires, parameters and initial values"
        formula = read_formula(event.when, known, (*path, "when"), document, of)
        formula, compared = formula.passing()
        used = {name: numbers[name] for name in formula.names & numbers.keys()}
        direction = event.direction or int(compared)
        watched = Watched(formula, model.time, used)
        found.append(watching.Event(watched, direction, event.terminal, event.name))
    return tuple(found)


def _formulas(model: Model) -> Any:
    """The formulas of the expectations, each with its path."""
    document = model.document
    known = [model.time, *model.numbers(model.circuit)]
    of = f"{model.time}, parameters and initial values"
    for one in model.experiment.expected:
        if isinstance(one, schema.ExpectedOutput) and one.formula is not None:
            path = (*one.path, "formula")
            yield path, read_formula(one.formula, known, path, document, of)
        if isinstance(one, schema.ExpectedEvent):
            for index, time in enumerate(one.times):
                if isinstance(time, str):
                    path = (*one.path, "times", index)
                    yield path, read_formula(time, known[1:], path, document, of)


def _check_names(model: Model) -> None:
    """Raises for units, pictures and expectations of what there is not."""
    experiment, document = model.experiment, model.document
    for name in experiment.units:
        model.check_wire(name, ("units", name))
    for name in ("plot", "phase"):
        for index, wire in enumerate(getattr(experiment.output, name)):
            model.check_wire(wire, ("output", name, index))
    if len(experiment.output.phase) > 2:
        raise document.fault(("output", "phase"), "expected a pair of wires")
    events = [event.name for event in experiment.events]
    known = parameters(model.circuit)
    for one in experiment.expected:
        if isinstance(one, schema.ExpectedOutput | schema.ExpectedSeries):
            model.check_wire(one.output, (*one.path, "output"))
        if isinstance(one, schema.ExpectedParameter) and one.parameter not in known:
            hint = did_you_mean(one.parameter, known) or f"; they are {', '.join(known)}"
            path = (*one.path, "parameter")
            raise document.fault(path, f"there is no parameter {one.parameter}{hint}")
        if isinstance(one, schema.ExpectedEvent) and one.event not in events:
            hint = did_you_mean(one.event, events) or f"; they are {', '.join(events) or 'none'}"
            raise document.fault((*one.path, "event"), f"there is no event {one.event}{hint}")


def random_key(experiment: schema.Experiment) -> Any:
    """The key of a stochastic experiment."""
    return jax.random.key(experiment.calculus.seed)
