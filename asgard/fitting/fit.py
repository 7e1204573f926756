"""`fit`: the numbers of a circuit, moved by any optax optimiser so that a loss falls."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from ..circuits.circuit import Circuit
from ..circuits.fields import check_count
from ..errors import CircuitError
from ..jaxprs.settings import nonfinite_allowed
from ..runs.stretches.report import Report
from .arguments import as_arrays, check_function, first_order, takes_key, tolerances
from .compiled import update_of
from .descent import Descent, Progress, State, advance, like
from .free import Free, Trainable, free_values, trained
from .long import LongFit, fit_in_stretches, is_long
from .optimizers import first_state
from .result import Fit, FitStatus


@nonfinite_allowed()
def fit(
    circuit: Circuit,
    loss: Callable[..., Any],
    *,
    args: tuple[Any, ...] = (),
    optimizer: optax.GradientTransformation,
    steps: int,
    trainable: Trainable = None,
    tol: float | Array | Mapping[str, Any] | None = None,
    key: Array | None = None,
    batch: int | None = None,
    progress: bool | Report = False,
    throw: bool = True,
    state: State | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int | None = None,
) -> Fit:
    """Moves a circuit's numbers so that a loss falls.

    All steps, with the runs and gradients in them, are one compiled program, which is kept. It
    compiles again for another structure of the circuit, other shapes, other `steps`, and another
    loss or optimiser. Functions are compared by identity, as in `jax.jit`; optimisers of optax that
    are made alike count as one. The circuit's numbers, `args`, keys and tolerances are traced. A
    learning rate is traced if `optax.inject_hyperparams` makes it part of the optimiser's state.

    The optimiser sees a dictionary by the names of `parameters`, with free values for numbers under
    constraints. Masks and labels of optax are such dictionaries, too.

    **Arguments:**

    - `circuit`: where the fit starts.
    - `loss`: `loss(circuit, *args) -> number`, of JAX functions. If it has an argument `key`, each
      step passes another one.
    - `args`: data, as arrays and pytrees of them.
    - `optimizer`: any of optax, such as `optax.adam(0.01)` or `optax.lbfgs()`. Line searches get
      the loss.
    - `steps`: the largest number of steps.
    - `trainable`: the numbers to move, all by default: names as in `parameters`, a function
      `(name, value) -> bool`, a dictionary from names to bools, or a pytree of the circuit's
      structure with bools. Numbers that are `Fixed` never move.
    - `tol`: the norm of the gradient, in free values, at which the fit ends; or
      `{"loss": …, "gradient": …}` with one or both, of which the first that is met ends the fit.
    - `key`: a JAX key, for a loss or minibatches that draw.
    - `batch`: how many examples a step takes. Examples are along the first axis of all arrays of
      `args`, and come in a new random order each epoch. Those that fill no whole batch are left out
      of that epoch.
    - `progress`: True shows a bar (with tqdm) or lines; a function is called with the steps taken,
      `steps` and the loss. A traced fit shows nothing.
    - `throw`: raise `FitError` if the loss or a step is not finite. Nothing raises under a trace;
      call `Fit.check()` later.
    - `state`: the `state` of an earlier fit with the same loss and data, to go on from: two fits
      then take the steps of one. If loss or data change, start from that fit's circuit instead.
    - `checkpoint`: a file to save the fit to as it runs. If the file exists, the same call goes on
      from it, to the same bits; with more `steps` it extends the fit.
    - `every`: the number of steps between reports and between checkpoints; by default as many as
      take about half a second.

    **Returns:** a `Fit`.

    **Raises:** `CircuitError` for a wrong argument, and for a checkpoint that is damaged or of
    another fit, or that cannot be written. `FitError` for a fit that failed. `Interrupted` at
    Ctrl-C, with `progress` or a `checkpoint`: its `result` is the fit so far.

    ```python
    def loss(circuit, ts, data):
        return jnp.mean((ag.simulate(circuit, ts).output - data) ** 2)

    ag.fit(circuit, loss, args=(ts, data), optimizer=optax.adam(0.05), steps=500).circuit
    ```
    """
    free = free_values(circuit, trained(circuit, trainable))
    descent = prepare(circuit, loss, args, optimizer, steps, tol, key, batch)
    start = begin(optimizer, free, descent, steps, state)
    if is_long((descent, start), progress, checkpoint, every, "fit"):
        found = fit_in_stretches(Fitting(descent, start), progress, checkpoint, every)
    else:
        end, fitted = advance(descent, start, jnp.asarray(steps))
        found = Fit(fitted, end.losses, end.loss, end.steps, end.status, end.state)
    return found.check() if throw else found


class Fitting(LongFit):
    """A fit in stretches."""

    def __init__(self, descent: Descent, start: Progress):
        super().__init__(start, (descent, start.state))
        self.descent = descent

    def until(self, now: Progress, step: Array) -> tuple[Progress, Circuit]:
        return advance(self.descent, now, step)

    def result(self, now: Progress, status: FitStatus) -> Fit:
        return Fit(self.circuit, now.losses, now.loss, now.steps, status, now.state)


def prepare(
    circuit: Circuit,
    loss: Any,
    args: Any,
    optimizer: Any,
    steps: int,
    tol: Any,
    key: Array | None,
    batch: int | None,
) -> Descent:
    """The fit that the arguments of `fit` ask for, checked."""
    check_count("fit", "steps", steps, least=1)
    data, draws = as_arrays(args), takes_key(loss, key, batch)
    check_function("loss", loss, data, draws)
    update, limits = update_of(optimizer), tolerances(tol)
    return Descent(loss, update, circuit, data, key, limits, draws, batch)


def begin(
    optimizer: Any, free: Free, descent: Descent, steps: int, state: State | None
) -> Progress:
    """The start of the loop: a new one, or where an earlier fit ended."""
    order = first_order(descent.args, descent.batch)
    if state is None:
        began = first_state(optimizer, free)
        # Without weak types, which a fit that goes on from this one would not have.
        began = like(began, began)
        state = State(free, free, began, jnp.zeros((), int), order, descent.batch)
    else:
        _check_state(state, optimizer, free, order, descent.batch)
    losses = jnp.full(steps, jnp.nan, jnp.result_type(float))
    loss, judged = jnp.asarray(jnp.inf, losses.dtype), jnp.asarray(False)
    return Progress(state, losses, loss, jnp.zeros((), int), FitStatus.steps, judged)


def _check_state(
    state: Any, optimizer: Any, free: Free, order: Array | None, batch: int | None
) -> None:
    if not isinstance(state, State):
        raise CircuitError(f"state must be the state of an earlier fit, not {state!r:.60}")

    def shapes(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf).name), tree)

    given = (state.free, state.optimizer, state.order)
    expected = free, jax.eval_shape(optimizer.init, free), order
    if state.batch != batch or shapes(given) != shapes(expected):
        raise CircuitError(
            "the state is that of a fit of another circuit, other trainable numbers, another "
            "optimiser or other minibatches"
        )
