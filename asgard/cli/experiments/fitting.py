"""The fit of an experiment to its data."""

import warnings
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array

from ...calculi.calculus import Calculus
from ...circuits.circuit import Circuit
from ...circuits.parameters import parameters
from ...errors import IdentifiabilityWarning
from ...fitting.fit import fit
from ...fitting.least_squares import METHODS, fit_residuals
from ...fitting.sensitivity import uncertainty
from ...runs.simulation import simulate
from . import schema
from .data import Data, read_data
from .kinds import did_you_mean
from .model import Model
from .results import Fitted


class Wires(eqx.Module):
    """The values of some wires of a circuit, by name, at times after the start of the run."""

    inputs: tuple[Any, ...]
    calculus: Calculus
    start: Array | None
    names: tuple[str, ...] = eqx.field(static=True)
    labels: tuple[str, ...] = eqx.field(static=True)
    dim: str | None = eqx.field(static=True)

    def __call__(self, circuit: Circuit, ts: Array) -> dict[str, Array]:
        times = ts if self.start is None else jnp.append(self.start, ts)
        run = simulate(
            circuit, times, inputs=self.inputs, calculus=self.calculus, dim=self.dim, throw=False
        )
        outputs = dict(zip(self.labels, run.outputs, strict=True))
        found = {name: outputs[name] if name in outputs else run[name] for name in self.names}
        return {name: values[len(times) - len(ts) :] for name, values in found.items()}


class Distances(eqx.Module):
    """How far wires are from data, all entries in one array."""

    wires: Wires
    logarithmic: bool = eqx.field(static=True)

    def __call__(self, circuit: Circuit, ts: Array, data: dict[str, Array]) -> Array:
        found = self.wires(circuit, ts)
        scaled = jnp.log if self.logarithmic else jnp.asarray
        return jnp.stack([scaled(found[name]) - scaled(data[name]) for name in data])


class Loss(eqx.Module):
    """The mean of the squares of the distances."""

    distances: Distances

    def __call__(self, circuit: Circuit, ts: Array, data: dict[str, Array]) -> Array:
        return jnp.mean(self.distances(circuit, ts, data) ** 2)


def fitted(model: Model) -> Fitted:
    """The fit. Raises `InputError` for data and names that do not fit, `FitError` for a failure."""
    options = model.experiment.fit
    assert options is not None
    _check(model, options)
    data = read_data(model)
    distances = Distances(_wires(model, data), options.scale == "logarithmic")
    args = (jnp.asarray(data.ts), {name: jnp.asarray(one) for name, one in data.columns.items()})
    common = {"args": args, "steps": options.steps, "trainable": list(options.free)}
    if options.method in METHODS:
        found = fit_residuals(model.circuit, distances, method=options.method, **common)
    else:
        make = getattr(optax, options.method)
        rate = options.learning_rate
        optimizer = make() if rate is None else make(rate)
        found = fit(model.circuit, Loss(distances), optimizer=optimizer, **common)
    known, notes = None, ()
    if options.uncertainty:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", IdentifiabilityWarning)
            known = uncertainty(found.circuit, distances, args=args, trainable=list(options.free))
        notes = tuple(str(one.message) for one in caught)
    return Fitted(found, data, distances, known, notes)


def _wires(model: Model, data: Data) -> Wires:
    """The model as a function of the circuit: it starts at `from`, or with the data."""
    times, calculus = model.experiment.times, model.calculus
    assert calculus is not None
    begin = None if times is None else times.begin
    if begin is not None and begin > data.ts[0]:
        path = ("times", "from")
        raise model.document.fault(path, f"the data begin earlier, at {data.ts[0]:g}")
    start = None if begin is None or begin == data.ts[0] else jnp.asarray(begin)
    dim = None if times is None else times.dim
    return Wires(model.inputs, calculus, start, tuple(data.columns), model.labels, dim)


def _check(model: Model, options: schema.Fit) -> None:
    """Raises `InputError` for numbers that cannot move."""
    document = model.document
    if model.experiment.calculus.name not in ("real", "discrete", "steady"):
        raise document.fault(("fit",), "fits run under real, discrete and steady")
    if options.method in METHODS and options.learning_rate is not None:
        raise document.fault(("fit", "learning_rate"), f"{options.method} has none")
    alone = (*METHODS, "lbfgs")
    if options.method not in alone and options.learning_rate is None:
        raise document.fault(("fit",), f"{options.method} needs the key learning_rate")
    known = parameters(model.circuit)
    for index, name in enumerate(options.free):
        if name not in known:
            hint = did_you_mean(name, known) or f"; they are {', '.join(known)}"
            raise document.fault(("fit", "free", index), f"there is no parameter {name}{hint}")
        if any(isinstance(read, tuple) and name in read[1] for read in model.inputs):
            raise document.fault(
                ("fit", "free", index),
                f"{name} stands in an input, and does not move there: write the input as an "
                "equation",
            )
