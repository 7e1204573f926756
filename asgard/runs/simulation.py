"""`simulate` and `compile`: a circuit run over time."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..calculi.calculus import Calculus
from ..calculi.events import Event, checked
from ..calculi.real.calculus import Real
from ..calculi.trajectory import Trajectory
from ..circuits.circuit import Circuit, as_circuit
from ..circuits.fields import check_leaves, precision
from ..errors import CircuitError
from ..jaxprs.compiling import Jit
from ..jaxprs.concrete import is_concrete, run_compiled
from ..jaxprs.meshes import without_mesh
from ..jaxprs.settings import default_promotion
from ..status import Status
from .arguments import (
    are_in_order,
    as_sources,
    as_times,
    check_dim,
    check_resolution,
    check_state,
)
from .long import Given, is_long, simulate_in_stretches
from .stretches.report import Report, check_progress
from .stretches.unfinished import taken_up


def simulate(
    circuit: Circuit,
    ts: Any,
    *,
    inputs: Sequence[Any] = (),
    calculus: Calculus = Real(),  # noqa: B008 - frozen, and holds no array
    dim: str | None = None,
    key: Any = None,
    path: Any = 0,
    events: Event | Sequence[Event] = (),
    state: Any = None,
    progress: bool | Report = False,
    checkpoint: str | os.PathLike[str] | None = None,
    throw: bool = True,
) -> Trajectory:
    """Runs a circuit over times.

    A pure function: `jax.jit`, `jax.grad`, `jax.jacfwd` and `jax.vmap` work on all of it. Called
    from outside it compiles itself, and compiles again only where something static changes: the
    circuit's structure, shapes, functions, the number of times, and what a calculus calls static.

    **Arguments:**

    - `circuit`: any circuit that the calculus can run.
    - `ts`: the times to save, strictly monotone, `[times]`; `ts[0]` is the start. Inside of a
      trace, times in a list or an array of NumPy are known.
    - `inputs`: one for each input wire: a number or array (a constant, so not one with
      an entry for each time), a function of time, a pair
      `(fn, args)` for `fn(t, args)` with traced arguments, a `Stream`, or `Samples`.
    - `calculus`: what a register does, and how the run is iterated.
    - `dim`: the dimension that is time, needed where the registers name several. The others stay
      coefficient axes, with initial contents and inputs as streams over them.
    - `key`, `path`: the random key (`jax.random.key(0)`) and the number of the path, under
      `Stochastic`. Other calculi draw nothing and refuse them.
    - `events`: what a run under `Real` watches: see `Event`. `trajectory.events` says by name when
      they happened.
    - `state`: the `state` of an earlier trajectory, to go on from. `ts[0]` is then that
      trajectory's last time, or under `Real` also one after it. With the same circuit and inputs
      the run takes the steps of one whole run; other parameters or inputs hold from that last time
      on.
    - `progress`: True shows a bar (with tqdm) or lines; a function is called about twice a second
      with the time reached, the last time and the steps taken. A traced run shows nothing.
    - `checkpoint`: a file to save the run to as it goes. If the file exists, the same call goes on
      from it, to the same bits.
    - `throw`: raise `SimulationError` for a run that failed. Where the results are traced nothing
      raises; `trajectory.check()` does later.

    **Returns:** a `Trajectory`: `ts`, `outputs`, `output`, `["name"]`, `status`, `stats`, `state`.

    **Raises:** `CircuitError` or one of its kind for what is wrong beforehand; `SimulationError`
    for a run that failed; `Interrupted` at Ctrl-C, with `progress` or a `checkpoint`: its `result`
    is the trajectory so far, and the same call with `state=result.state` goes on.

    ```python
    decay = ag.ode(lambda t, x: -x, 1.0)
    ag.simulate(decay, [0.0, 1.0]).output  # 1, 1/e
    ```
    """
    circuit = as_circuit("simulate runs", circuit)
    if not isinstance(calculus, Calculus):
        raise CircuitError(f"calculus must be a calculus such as Real(), not {calculus!r}")
    check_dim(dim)
    times = as_times(ts)
    sources = as_sources(circuit, inputs, times)
    check_progress(progress)
    state, unfinished = taken_up(state, "run")
    gapless = calculus.gapless
    check_state(times, state, gapless)
    # A method that is bound to a Module is a Module itself, which takes 20 us to make.
    how = type(calculus)
    calculus = how.settled(calculus, times)
    calculus = how.for_circuit(calculus, circuit, times)
    good = None
    if not is_concrete(times, getattr(state, "last", times)):
        good = are_in_order(times, state, gapless) & how.takes(calculus, times)
    calculus = how.with_events(calculus, checked(events))
    calculus = how.with_key(calculus, key, path)
    dtype = precision((circuit, sources)) or times.dtype
    how.check_precision(calculus, dtype)
    if is_concrete(times):
        check_resolution(np.asarray(times), dtype)
    given = Given(circuit, calculus, times, sources, state, dim)
    try:
        if is_long(given, progress, checkpoint, unfinished, "a run"):
            trajectory = simulate_in_stretches(given, progress, checkpoint, unfinished)
        else:
            trajectory = run_compiled(_compiled, _run, given)
    except TypeError:
        check_leaves(calculus)  # not before each run, as it takes time
        raise
    if good is not None:
        trajectory = _ordered(trajectory, good)
    return type(trajectory).check(trajectory) if throw else trajectory


def compile(
    circuit: Circuit, calculus: Calculus, jit: bool = True
) -> Callable[[Any, Any], tuple[Any, Any]]:
    """A circuit as a pure function `fn(inputs, state=None) -> (outputs, state)`.

    Under `Real(order=N)` inputs and outputs are streams, as in `series`, and there is no state to
    carry: what is given is handed back. Under `Discrete` they are samples, arrays
    `[samples, *value]`; the state is carried from one call to the next, so that a sequence can be
    fed piece by piece for ever, and None starts it.

    **Arguments:** `jit=False` gives a function that runs under `jax.disable_jit`, for debugging:
    atoms are called with concrete values. A series also needs atoms as programs of JAX: it calls
    each with the values at the centre, and then traces it.

    **Raises:** `CircuitError` where the calculus does not say all that a run needs.

    ```python
    fn = ag.compile(circuit, ag.Real(order=8))
    outputs, state = fn((ag.Stream([1.0], "t"),), None)
    ```
    """
    circuit = as_circuit("compile takes", circuit)
    if not isinstance(calculus, Calculus):
        raise CircuitError(f"calculus must be a calculus such as Real(order=8), not {calculus!r}")
    run = calculus.compile(circuit)
    if jit:
        return run

    def slowly(inputs: Any, state: Any = None) -> tuple[Any, Any]:
        with jax.disable_jit():
            return run(inputs, state)

    return slowly


def _ordered(trajectory: Trajectory, good: Array) -> Trajectory:
    """The trajectory, failed where its times are not in order, as is known only when it runs."""
    outputs, names = jax.tree.map(
        lambda rows: jnp.where(good, rows, jnp.full_like(rows, jnp.nan)),
        (trajectory.outputs, trajectory.names),
    )
    status = Status.where(good, trajectory.status, Status.times)
    return dataclasses.replace(trajectory, outputs=outputs, names=names, status=status)


@default_promotion()
def _run(given: Given) -> Trajectory:
    return given.run()


_compiled = Jit(without_mesh(_run))
