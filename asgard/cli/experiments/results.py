"""What experiments give."""

import abc
import dataclasses
import re
from typing import Any

import numpy as np

from ...calculi.trajectory import Trajectory
from ...circuits.circuit import Circuit
from ...circuits.stream import Stream
from ...errors import CircuitError
from ...fitting.result import Fit
from ...fitting.sensitivity import Uncertainty
from ...runs.ensembles import Ensemble
from ...status import Status
from .data import Data
from .model import Model


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A fit, the data it was made to, and how well its numbers are known, where that was asked.

    `notes` are warnings, `distances` the function of a circuit whose squares were made small.
    """

    fit: Fit
    data: Data
    distances: Any
    uncertainty: Uncertainty | None
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Result(abc.ABC):
    """What an experiment gave. `circuit` is the one that ran: after a fit, the fitted one."""

    model: Model
    circuit: Circuit
    fitted: Fitted | None

    @property
    @abc.abstractmethod
    def settings(self) -> str:
        """How it ran, in a few words."""

    @abc.abstractmethod
    def columns(self) -> dict[str, np.ndarray]:
        """The table of numbers, by column."""


@dataclasses.dataclass(frozen=True)
class RunResult(Result):
    """A run over times."""

    run: Trajectory

    @property
    def settings(self) -> str:
        ts = np.asarray(self.run.ts)
        steps = self.run.stats.get("steps")
        over = f"{len(ts)} times from {ts[0]:.6g} to {ts[-1]:.6g}" if len(ts) > 1 else "one time"
        taken = "" if steps is None else f", {int(steps)} steps"
        ended = f", ended by an event at {float(self.run.reached):.6g}" if self.ended else ""
        return f"{self.model.experiment.calculus.name}: {over}{taken}{ended}"

    @property
    def ended(self) -> bool:
        """Whether a terminal event ended the run before its last time."""
        return bool(self.run.status == Status.event)

    def seen(self) -> np.ndarray:
        """Which times the run came to, `[times]`."""
        ts = np.asarray(self.run.ts)
        if not self.ended:
            return np.full(len(ts), True)
        reached = float(self.run.reached)
        return ts <= reached if ts[-1] > ts[0] else ts >= reached

    def values(self, name: str) -> np.ndarray:
        """The values of a wire, or of an entry of it, `[times, *value]`."""
        return values_of(self.model, self.run, name)

    def columns(self) -> dict[str, np.ndarray]:
        columns = {self.model.time: np.asarray(self.run.ts)}
        for name in self.model.labels:
            columns |= flat(name, self.values(name))
        return columns


@dataclasses.dataclass(frozen=True)
class EnsembleResult(Result):
    """Many paths."""

    run: Ensemble

    @property
    def settings(self) -> str:
        ts, options = np.asarray(self.run.ts), self.model.experiment.calculus
        over = f"{len(ts)} times from {ts[0]:.6g} to {ts[-1]:.6g}"
        return f"stochastic: {options.paths:,} paths by {options.method}, {over}"

    def paths(self, name: str) -> np.ndarray:
        """The paths of a wire, or of an entry of it, `[paths, times, *value]`."""
        return values_of(self.model, self.run, name, lead=2)

    def columns(self) -> dict[str, np.ndarray]:
        columns = {self.model.time: np.asarray(self.run.ts)}
        for name in self.model.labels:
            paths = self.paths(name)
            columns |= flat(f"mean {name}", np.mean(paths, axis=0))
            columns |= flat(f"variance {name}", np.var(paths, axis=0, ddof=1))
        return columns


@dataclasses.dataclass(frozen=True)
class SeriesResult(Result):
    """The series of the outputs."""

    streams: tuple[Stream, ...]

    @property
    def settings(self) -> str:
        return f"series: {', '.join(f'order {n} along {d}' for d, n in self.orders.items())}"

    @property
    def orders(self) -> dict[str, int]:
        stream = self.streams[0]
        shape = stream.coefficients.shape
        count = len(stream.dims)
        return dict(zip(stream.dims, (n - 1 for n in shape[len(shape) - count :]), strict=True))

    def stream(self, name: str) -> Stream:
        """The series of an output."""
        if name not in self.model.labels:
            raise CircuitError(f"a series has its outputs alone, and {name} is none")
        return self.streams[self.model.labels.index(name)]

    def columns(self) -> dict[str, np.ndarray]:
        orders = self.orders
        indices = np.indices([n + 1 for n in orders.values()]).reshape(len(orders), -1)
        columns = {f"order {dim}": row for dim, row in zip(orders, indices, strict=True)}
        for name, stream in zip(self.model.labels, self.streams, strict=True):
            rows = np.asarray(stream.coefficients)
            shape = rows.shape[: rows.ndim - len(orders)]
            columns |= flat(name, np.moveaxis(rows.reshape(*shape, -1), -1, 0))
        return columns


def values_of(model: Model, run: Any, name: str, lead: int = 1) -> np.ndarray:
    """The values of a wire of a run; behind the first `lead` axes the axes of the value."""
    if name in model.labels:
        return np.asarray(run.outputs[model.labels.index(name)])
    if name in run.names:
        return np.asarray(run.names[name])
    whole, _, index = name.partition("[")
    places = tuple(map(int, re.findall(r"\d+", index)))
    values = values_of(model, run, whole, lead)
    try:
        return values[(*(slice(None),) * lead, *places)]
    except IndexError:
        shape = list(values.shape[lead:])
        raise CircuitError(
            f"{whole} carries an array of the shape {shape}, without {name}"
        ) from None


def flat(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Values `[rows, *value]` as columns: one for each entry, and two where numbers are complex."""
    if np.iscomplexobj(values):
        return flat(f"Re {name}", np.real(values)) | flat(f"Im {name}", np.imag(values))
    columns = {}
    for index in np.ndindex(values.shape[1:]):
        label = f"{name}[{','.join(map(str, index))}]" if index else name
        columns[label] = values[(slice(None), *index)]
    return columns
