"""Experiments run."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator

import numpy as np

from ...circuits.circuit import Circuit
from ...errors import CircuitError
from ...runs.ensembles import ensemble
from ...runs.series import series
from ...runs.simulation import simulate
from ..faults import advised
from .fitting import fitted
from .model import Model, random_key
from .results import EnsembleResult, Fitted, Result, RunResult, SeriesResult


def run(model: Model) -> Result:
    """What the experiment gives.

    Raises `InputError` for what is wrong with the experiment, `SimulationError` and `FitError` for
    a run that failed, and `ImportError` for a package that is missing.
    """
    with _faults(model):
        found, circuit = None, model.circuit
        if model.experiment.fit is not None:
            found = fitted(model)
            circuit = found.fit.circuit
            model = dataclasses.replace(model, ts=_times_of_fit(model, found))
        return _run(model, circuit, found)


def _run(model: Model, circuit: Circuit, found: Fitted | None) -> Result:
    options = model.experiment.calculus
    if options.name == "series":
        streams = series(circuit, *model.inputs, order=options.order)
        together = streams if isinstance(streams, tuple) else (streams,)
        return SeriesResult(model, circuit, found, together)
    assert model.calculus is not None
    assert model.ts is not None
    times = model.experiment.times
    dim = None if times is None else times.dim
    arguments = {"inputs": model.inputs, "calculus": model.calculus, "dim": dim}
    if options.name == "stochastic":
        key = random_key(model.experiment)
        paths = ensemble(circuit, model.ts, key=key, paths=options.paths, **arguments)
        return EnsembleResult(model, circuit, found, paths)
    trajectory = simulate(circuit, model.ts, events=model.events, **arguments)
    return RunResult(model, circuit, found, trajectory)


@contextlib.contextmanager
def _faults(model: Model) -> Iterator[None]:
    """Errors of circuits as those of the experiment."""
    try:
        yield
    except CircuitError as error:
        text = advised(str(error), bool(model.document.name))
        own = re.match(
            r"(Real|Stochastic|Discrete|Steady|FixedPoint|[Tt]he method|rtol|atol)", text
        )
        system = "equations" if model.experiment.circuit is None else "circuit"
        raise model.document.fault(("calculus" if own else system,), text) from None


def _times_of_fit(model: Model, found: Fitted) -> np.ndarray:
    """The times that are saved of a fitted model: those asked for, or those of the data, behind
    the start of the run."""
    times = model.experiment.times
    if times is not None and (times.until is not None or times.at is not None):
        assert model.ts is not None
        return model.ts
    start, ts = found.distances.wires.start, found.data.ts
    return ts if start is None else np.append(start, ts)
