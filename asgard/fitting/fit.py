"""`fit`: the numbers of a circuit, moved by any optax optimiser so that a loss falls."""

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from ..circuits.circuit import Circuit
from ..circuits.fields import check_count
from ..errors import CircuitError
from ..jaxprs.concrete import is_concrete
from ..jaxprs.makeup import Made
from .descent import Descent, Progress, State, advance, like
from .edge import Report, Saved, in_stretches
from .free import Free, Trainable, chosen, free_values
from .result import Fit, FitStatus


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
    every: int = 100,
) -> Fit:
    """Moves a circuit's numbers so that a loss falls.

    All steps, with the runs and gradients in them, are one compiled program, which is kept. It is
    compiled again where something static changes: the circuit's structure, shapes, `steps`, the
    functions' code. Numbers of the circuit, `args`, keys and tolerances are traced; a learning rate
    is where `optax.inject_hyperparams` makes it part of the optimiser's state.

    The optimiser sees a dictionary by the names of `parameters`, with the free values of numbers
    under constraints: masks and labels of optax are such dictionaries.

    **Arguments:**

    - `circuit`: where the fit starts.
    - `loss`: `loss(circuit, *args) -> number`, of JAX functions. Where it has an argument `key`, it
      is given another one at each step.
    - `args`: data, as arrays and pytrees of them.
    - `optimizer`: any of optax, such as `optax.adam(0.01)` or `optax.lbfgs()`, whose line search is
      given the loss.
    - `steps`: how many steps to take at most.
    - `trainable`: what is moved: names as in `parameters`, a function `(name, value) -> bool`, or a
      pytree of the circuit's structure with True and False. By default all; numbers that are
      `Fixed` never.
    - `tol`: a number that the gradient's norm comes to, in free values; or
      `{"loss": …, "gradient": …}` with one or both, of which the first that is met ends the fit.
    - `key`: a JAX key, for a loss or minibatches that draw.
    - `batch`: how many examples a step takes. The examples are along the first axis of all arrays
      of `args`, in a new random order each epoch; those that make no whole batch are left out of
      one.
    - `progress`: True shows a bar (with tqdm) or lines; a function is called with the step, the
      number of steps and the loss. Nothing is shown where the fit is traced.
    - `throw`: raise `FitError` where the loss or a step is not finite. Where results are traced
      nothing raises; `Fit.check()` does later.
    - `state`: the `state` of an earlier fit with the same loss and data, to go on from: two fits
      take the steps of one. Where loss or data change, start from that fit's circuit instead.
    - `checkpoint`: a file to save the fit to as it runs. Where the file exists, the same call goes
      on from it, to the same bits.
    - `every`: after how many steps to report and to save.

    **Returns:** a `Fit`.

    **Raises:** `CircuitError` for what is wrong beforehand, `FitError` for a fit that failed.

    ```python
    def loss(circuit, ts, data):
        return jnp.mean((ag.simulate(circuit, ts).output - data) ** 2)

    ag.fit(circuit, loss, args=(ts, data), optimizer=optax.adam(0.05), steps=500).circuit
    ```
    """
    moved = chosen(circuit, trainable)
    free = free_values(circuit, moved)
    check_count("fit", "steps", steps, least=1)
    check_count("fit", "every", every, least=1)
    args = arrays(args)
    draws = draws_from(loss, key, batch)
    problem = Descent(Made(loss), update_of(optimizer), draws, batch)
    start = begin(optimizer, free, args, batch, state, steps)
    fixed = (circuit, args, key, tolerances(tol))

    def stretch(progress: Progress, until: int) -> tuple[Progress, Circuit]:
        return advance(problem, *fixed, progress, jnp.asarray(until))

    if not is_concrete(*jax.tree.leaves((fixed, start))):
        if checkpoint is not None:
            raise CircuitError("a fit under a JAX transformation has no checkpoint")
        end, fitted = stretch(start, steps)
    elif checkpoint is None and progress is False:
        end, fitted = stretch(start, steps)
    else:
        made = problem.loss.fingerprint(), problem.update.fingerprint(), draws, batch
        saved = None if checkpoint is None else Saved(checkpoint, (fixed, start), str(made))
        end, fitted = in_stretches(stretch, start, steps, every, progress, saved)
    found = Fit(fitted, end.losses, end.loss, end.steps, end.status, end.state)
    return found.check() if throw else found


def arrays(args: Any) -> tuple[Any, ...]:
    """The data of a fit, all as arrays."""
    if not isinstance(args, tuple | list):
        raise CircuitError(f"args must be a tuple, such as (ts, data), not {type(args).__name__}")
    try:
        # Without weak types: 0.5 and an array of it are one to a compilation.
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), tuple(args))
    except (TypeError, ValueError) as error:
        raise CircuitError(f"args must hold numbers and arrays: {error}") from error


def update_of(optimizer: Any) -> Made:
    """The update of an optimiser. What its state holds is traced, so only this is compiled in."""
    if isinstance(optimizer, optax.MultiSteps):
        optimizer = optimizer.gradient_transformation()
    if not isinstance(optimizer, optax.GradientTransformation):
        raise CircuitError(f"optimizer must be one of optax, such as adam(0.01): {optimizer!r}")
    return Made(optax.with_extra_args_support(optimizer).update)


def draws_from(loss: Any, key: Array | None, batch: Any) -> bool:
    """Whether the loss takes a key; raises where keys are missing or of no use."""
    if not callable(loss):
        raise CircuitError(f"a loss is a function of the circuit, not {loss!r}")
    if batch is not None:
        check_count("fit", "batch", batch, least=1)
    argument = inspect.signature(loss).parameters.get("key")
    # One with a default, such as a key that functools.partial has bound, needs none.
    needed = argument is not None and argument.default is inspect.Parameter.empty
    draws = needed or (argument is not None and key is not None)
    if key is None and (draws or batch is not None):
        what = "the loss takes a key" if draws else "minibatches are drawn"
        raise CircuitError(f"{what}: give one, such as key=jax.random.key(0)")
    if key is not None:
        check_key(key)
    if key is not None and not draws and batch is None:
        raise CircuitError(
            "a key is given, but the loss has no argument key, and there is no batch"
        )
    return draws


def check_key(key: Any) -> None:
    """Raises where a key is none of JAX, or more than one."""
    typed = eqx.is_array(key) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    raw = eqx.is_array(key) and key.dtype == jnp.uint32 and key.ndim > 0
    if not (typed or raw) or (key.ndim if typed else key.ndim - 1):
        raise CircuitError(f"key must be one JAX key, such as jax.random.key(0), not {key!r:.60}")


def _order(args: tuple[Any, ...], batch: int | None) -> Array | None:
    """The examples in the order given, where there are minibatches."""
    if batch is None:
        return None
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(args)}
    if not sizes:
        raise CircuitError("with batch, the examples are in args, but there are none")
    if len(sizes) != 1 or sizes == {()}:
        raise CircuitError(
            "with batch, the first axis of each array of args counts the examples; they have "
            f"{', '.join(str(size[0]) if size else 'none' for size in sorted(sizes))}: let the "
            "loss close over what is no data"
        )
    ((examples,),) = sizes
    if batch > examples:
        raise CircuitError(f"batch is {batch}, but there are {examples} examples")
    return jnp.arange(examples)


def tolerances(tol: Any) -> dict[str, Array]:
    """What ends a fit, by name: the loss, the norm of its gradient."""
    if tol is None:
        return {}
    named = dict(tol) if isinstance(tol, Mapping) else {"gradient": tol}
    for name in named:
        if name not in ("loss", "gradient"):
            raise CircuitError(f'tol is for "loss" and "gradient", not for {name!r}')
    return {name: tolerance(value) for name, value in named.items()}


def tolerance(tol: Any) -> Array:
    """One number, as an array."""
    try:
        number = jnp.asarray(tol, float)
    except (TypeError, ValueError) as error:
        raise CircuitError(f"tol must be a number, not {tol!r}") from error
    if number.shape != ():
        raise CircuitError(f"tol must be one number, not of shape {number.shape}")
    return number


def begin(
    optimizer: Any,
    free: Free,
    args: tuple[Any, ...],
    batch: int | None,
    state: State | None,
    steps: int,
) -> Progress:
    """The start of the loop: afresh, or from where an earlier fit came to."""
    order = _order(args, batch)
    if state is None:
        began = jax.tree.map(jnp.asarray, optimizer.init(free))
        # Without weak types, which a fit that goes on from this one would not have.
        state = State(free, free, like(began, began), jnp.zeros((), int), order, batch)
    else:
        _check_state(state, optimizer, free, order, batch)
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
