"""`simulate` and `compile`: a circuit run over time."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..calculi.calculus import Calculus
from ..calculi.real.calculus import Real
from ..calculi.trajectory import Trajectory
from ..circuits.atoms.functions import Function
from ..circuits.circuit import Circuit
from ..circuits.samples import Samples
from ..circuits.stream import Stream
from ..circuits.terms import brief
from ..errors import CircuitError, DegreeError
from ..jaxprs.concrete import is_concrete, run_compiled
from ..jaxprs.meshes import without_mesh
from ..jaxprs.settings import default_promotion
from ..status import Status


def simulate(
    circuit: Circuit,
    ts: Any,
    *,
    inputs: Sequence[Any] = (),
    calculus: Calculus = Real(),  # noqa: B008 - frozen, and holds no array
    dim: str | None = None,
    key: Any = None,
    path: Any = 0,
    state: Any = None,
    throw: bool = True,
) -> Trajectory:
    """Runs a circuit over times.

    A pure function: `jax.jit`, `jax.grad`, `jax.jacfwd` and `jax.vmap` work on all of it. Called
    from outside it compiles itself, and compiles again only where something static changes: the
    circuit's structure, shapes, functions, the number of times, and what a calculus calls static.

    **Arguments:**

    - `circuit`: any circuit that the calculus can run.
    - `ts`: the times to save, strictly monotone, `[times]`; `ts[0]` is the start.
    - `inputs`: one for each input wire: a number or array (constant), a function of time, a pair
      `(fn, args)` for `fn(t, args)` with traced arguments, a `Stream`, or `Samples`.
    - `calculus`: what a register does, and how the run is iterated.
    - `dim`: the dimension that is time, needed where the registers name several. The others stay
      coefficient axes, with initial contents and inputs as streams over them.
    - `key`, `path`: the random key (`jax.random.key(0)`) and the number of the path, under
      `Stochastic`. Other calculi draw nothing and do not read them.
    - `state`: the `state` of an earlier trajectory, to go on from. `ts[0]` is then that
      trajectory's last time, or one after it; under `Discrete` its last one. With the same circuit
      and inputs the run takes the steps of one whole run; other parameters or inputs hold from that
      last time on.
    - `throw`: raise `SimulationError` for a run that failed. Where the results are traced nothing
      raises; `trajectory.check()` does later.

    **Returns:** a `Trajectory`: `ts`, `outputs`, `output`, `["name"]`, `status`, `stats`, `state`.

    **Raises:** `CircuitError` or one of its kind for what is wrong beforehand; `SimulationError`
    for a run that failed.

    ```python
    decay = (ag.Scalar(-1.0) >> ag.Register("t", 1.0) >> ag.Split()).trace()
    ag.simulate(decay, [0.0, 1.0]).output  # 1, 1/e
    ```
    """
    if not isinstance(circuit, Circuit):
        raise CircuitError(f"simulate runs a circuit, not {circuit!r}")
    if not isinstance(calculus, Calculus):
        raise CircuitError(f"calculus must be a calculus such as Real(), not {calculus!r}")
    times = as_times(ts)
    sources = as_sources(circuit, inputs)
    check_state(times, state, calculus.gapless)
    calculus = calculus.settled(times).with_key(key, path)
    arguments = (circuit, calculus, times, sources, state, dim)
    trajectory = run_compiled(_compiled, _run, *arguments)
    if not is_concrete(times):
        trajectory = _ordered(trajectory, times)
    return trajectory.check() if throw else trajectory


def compile(
    circuit: Circuit, calculus: Calculus, jit: bool = True
) -> Callable[[Any, Any], tuple[Any, Any]]:
    """A circuit as a pure function `fn(inputs, state=None) -> (outputs, state)`.

    Under `Real(order=N)` inputs and outputs are streams, as in `series`, and there is no state to
    carry: what is given is handed back. Under `Discrete` they are samples, arrays
    `[samples, *value]`; the state is carried from one call to the next, so that a sequence can be
    fed piece by piece for ever, and None starts it.

    **Arguments:** `jit=False` gives a function that runs under `jax.disable_jit`, operation by
    operation, so that an error's Python stack shows where it comes from.

    **Raises:** `CircuitError` where the calculus does not say all that a run needs.

    ```python
    fn = ag.compile(circuit, ag.Real(order=8))
    outputs, state = fn((ag.Stream([1.0], "t"),), None)
    ```
    """
    if not isinstance(circuit, Circuit):
        raise CircuitError(f"compile takes a circuit, not {circuit!r}")
    if not isinstance(calculus, Calculus):
        raise CircuitError(f"calculus must be a calculus such as Real(order=8), not {calculus!r}")
    run = calculus.compile(circuit)
    if jit:
        return run

    def slowly(inputs: Any, state: Any = None) -> tuple[Any, Any]:
        with jax.disable_jit():
            return run(inputs, state)

    return slowly


def _ordered(trajectory: Trajectory, ts: Array) -> Trajectory:
    """The trajectory, failed where its times are not in order, as is known only when it runs."""
    steps = jnp.diff(ts)
    good = jnp.all(steps > 0) | jnp.all(steps < 0)
    outputs, names = jax.tree.map(
        lambda rows: jnp.where(good, rows, jnp.full_like(rows, jnp.nan)),
        (trajectory.outputs, trajectory.names),
    )
    status = Status.where(good, trajectory.status, Status.times)
    return dataclasses.replace(trajectory, outputs=outputs, names=names, status=status)


@default_promotion()
def _run(
    circuit: Circuit,
    calculus: Calculus,
    ts: Array,
    sources: tuple[Any, ...],
    state: Any,
    dim: str | None,
) -> Trajectory:
    return calculus.simulate(circuit, ts, sources, dim, state)


_compiled = jax.jit(without_mesh(_run), static_argnums=5)


class _WithArguments(eqx.Module):
    """fn(t, args) as a function of t, with the arguments as leaves."""

    fn: Callable[..., Any] = eqx.field(static=True)
    args: Any

    def __call__(self, t: Array) -> Any:
        return self.fn(t, self.args)


def as_sources(circuit: Circuit, inputs: Any) -> tuple[Any, ...]:
    """Inputs as arrays, streams, samples and functions of time, one for each wire."""
    if not isinstance(inputs, tuple | list):
        raise CircuitError(
            "inputs must be a tuple with one input for each wire, such as (1.0,), not "
            f"{type(inputs).__name__}"
        )
    if len(inputs) != circuit.n_in:
        raise DegreeError(
            f"{brief(circuit)} takes {circuit.n_in} input{'s'[: circuit.n_in != 1]}, but "
            f"{len(inputs)} {'was' if len(inputs) == 1 else 'were'} given"
        )
    return tuple(_source(place, given) for place, given in enumerate(inputs))


def _source(place: int, given: Any) -> Any:
    """An input as an array, a stream, samples, or a function of time."""
    if isinstance(given, Stream | Samples):
        return given
    if callable(given):
        return Function(given, 1, 1)
    if isinstance(given, tuple) and len(given) == 2 and callable(given[0]):
        try:
            args = jax.tree.map(jnp.asarray, given[1])
        except (TypeError, ValueError) as error:
            raise CircuitError(
                f"input {place} is (fn, args): args must hold numbers and arrays, not {given[1]!r}"
            ) from error
        return Function(_WithArguments(given[0], args), 1, 1)
    try:
        array = jnp.asarray(given)
    except (TypeError, ValueError) as error:
        raise CircuitError(
            f"input {place} must be a number, an array, a function of time, (fn, args), a Stream "
            f"or Samples, not {given!r}"
        ) from error
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        array = array.astype(jnp.result_type(float))
    return jax.lax.convert_element_type(array, array.dtype)


def as_times(ts: Any) -> Array:
    """Strictly monotone times as an array of floats."""
    try:
        times = jnp.asarray(ts)
    except (TypeError, ValueError) as error:
        raise CircuitError(f"ts must be an array of times, not {ts!r}") from error
    if jnp.issubdtype(times.dtype, jnp.complexfloating):
        raise CircuitError("ts must be real times, not complex numbers")
    if times.ndim != 1 or times.shape[0] == 0:
        raise CircuitError(f"ts must be an array [times], not of shape {times.shape}")
    if not jnp.issubdtype(times.dtype, jnp.floating):
        times = times.astype(jnp.result_type(float))
    if is_concrete(times):
        numbers = np.asarray(times, dtype=np.float64)
        steps = np.diff(numbers)
        if not np.all(np.isfinite(numbers)):
            raise CircuitError("ts must be finite")
        if not (np.all(steps > 0) or np.all(steps < 0)):
            raise CircuitError("ts must be strictly increasing or strictly decreasing")
    return jax.lax.convert_element_type(times, times.dtype)


def check_state(times: Array, state: Any, gapless: bool) -> None:
    """A state holds arrays, and its run goes on from the time to which it came."""
    if not all(eqx.is_array_like(leaf) for leaf in jax.tree.leaves(state)):
        raise CircuitError(f"state must be the state of an earlier trajectory, not {state!r}")
    last = getattr(state, "last", None)
    if last is None or not is_concrete(last, times):
        return
    # With NumPy: in a trace, JAX would make traced truths even of known numbers.
    known, came = np.asarray(times), np.asarray(last)
    direction = -1.0 if known[-1] < known[0] else 1.0
    if direction * (known[0] - came) < 0:
        raise CircuitError(
            f"the state stands at t = {float(came)}, and ts begins behind it, at {float(known[0])}"
        )
    if gapless and known[0] != came:
        raise CircuitError(
            f"the state stands at sample {float(came):g}, and ts begins at {float(known[0]):g}: a "
            "sequence goes on at the sample to which it came"
        )
