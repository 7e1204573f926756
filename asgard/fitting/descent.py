"""The loop of `fit`: steps of an optimiser, as one compiled program."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from ..circuits.circuit import Circuit
from ..errors import CircuitError
from ..jaxprs.own_functions import traceable
from ..jaxprs.settings import callers_promotion
from ..jaxprs.trees import select
from .compiled import Compiled
from .free import Free, joined
from .optimizers import check_update
from .result import FitStatus

# Optimisers that know the loss and its gradient where their step ends.
_LINE_SEARCHES = (optax.ScaleByZoomLinesearchState, optax.ScaleByBacktrackingLinesearchState)


class State(eqx.Module):
    """Where a fit stands.

    - `free`: the numbers that the optimiser sees.
    - `finite`: those numbers where the loss was last finite.
    - `optimizer`: the state of the optimiser, as optax has it.
    - `count`: the steps since the first start, those of earlier fits included.
    - `order`: the order in which examples are taken, with minibatches of `batch` examples.
    """

    free: Free
    finite: Free
    optimizer: Any
    count: Int[Array, ""]
    order: Int[Array, " examples"] | None
    batch: int | None = eqx.field(static=True)


class Progress(eqx.Module):
    """What the loop carries: a fit's state, and what it has recorded.

    `loss` is the last one that was finite. After the last step the loss is evaluated once more, as
    that of the circuit that the fit returns; `judged` says that it was.
    """

    state: State
    losses: Float[Array, "*batch steps"]
    loss: Float[Array, "*batch"]
    steps: Int[Array, "*batch"]
    status: FitStatus
    judged: Bool[Array, "*batch"]


class Descent(eqx.Module):
    """A fit: the loss that is to fall, the optimiser's update, and what they read.

    `key` is what the loss and the minibatches draw from. `takes_key` says that the loss does, and
    `batch` how many examples make a minibatch.
    """

    loss: Callable[..., Any]
    update: Callable[..., Any]
    circuit: Circuit
    args: tuple[Any, ...]
    key: Array | None
    tolerances: dict[str, Array]
    takes_key: bool = eqx.field(static=True)
    batch: int | None = eqx.field(static=True)

    def advance(self, start: Progress, until: Array) -> tuple[Progress, Circuit]:
        """Takes steps up to number `until`, or to the fit's end. Returns the circuit there, too."""
        most = start.losses.shape[0]

        def going(progress: Progress) -> Array:
            last = (progress.steps == most) & ~progress.judged
            return ((progress.steps < until) | last) & (progress.status == FitStatus.steps)

        def body(progress: Progress) -> Progress:
            steps, moves = progress.steps, progress.steps < most
            state, loss, status = self.step(progress.state, moves)
            loss = loss.astype(progress.losses.dtype)
            losses = progress.losses.at[steps].set(loss, mode="drop")
            loss = jnp.where(jnp.isfinite(loss), loss, progress.loss)
            # A step that met the tolerance, or failed, was not taken.
            steps = steps + (moves & (status == FitStatus.steps))
            return Progress(state, losses, loss, steps, status, ~moves)

        end = jax.lax.while_loop(going, body, start)
        return end, joined(self.circuit, end.state.free)

    def step(self, state: State, moves: Array) -> tuple[State, Array, FitStatus]:
        """One step, or the loss alone where `moves` is False.

        **Returns:** the state after it, the loss before it, and whether the fit goes on.
        """
        of, order = self._loss(state)
        loss, gradient = self._loss_and_gradient(of, state)
        with traceable("optimizer: its update"):
            found = self.update(
                gradient, state.optimizer, state.free, value=loss, grad=gradient, value_fn=of
            )
        check_update(found, state.free, state.optimizer)
        updates, optimizer = found
        free: Any = optax.apply_updates(state.free, updates)
        finite = select(jnp.isfinite(loss), state.free, state.finite)
        converged = self._converged(loss, gradient)
        # An optimiser that skips a gradient that is not finite leaves the numbers as they are.
        still = jnp.all(jnp.array([jnp.all(free[name] == state.free[name]) for name in free]))
        skipped = still & ~_all_finite(gradient)
        failed = moves & ~_all_finite(free) | ~(jnp.isfinite(loss) | moves & skipped)
        after = State(
            free, finite, like(optimizer, state.optimizer), state.count + 1, order, self.batch
        )
        kept = select(converged | ~failed, state.free, finite)
        before = dataclasses.replace(state, free=kept, finite=finite)
        status = FitStatus.where(failed, FitStatus.nonfinite, FitStatus.steps)
        status = FitStatus.where(converged, FitStatus.converged, status)
        return select(converged | failed | ~moves, before, after), loss, status

    def _loss(self, state: State) -> tuple[Callable[[Free], Array], Array | None]:
        """The loss of one step as a function of the free values, and the order of the examples."""
        args, order, keyword = self.args, state.order, {}
        if self.batch is not None and order is not None and self.key is not None:
            args, order = _minibatch(args, order, self.key, state.count, self.batch)
        if self.takes_key and self.key is not None:
            keyword = {"key": jax.random.fold_in(jax.random.fold_in(self.key, 1), state.count)}

        def of(free: Free) -> Array:
            with traceable("the loss"), callers_promotion():
                loss = self.loss(joined(self.circuit, free), *args, **keyword)
            return _real_number(loss)

        return of, order

    def _loss_and_gradient(self, of: Callable[[Free], Array], state: State) -> tuple[Array, Free]:
        """The loss and its gradient, from the optimiser where its line search has found them."""
        known = _last(state.optimizer)
        if getattr(known, "grad", None) is None or self.takes_key or self.batch is not None:
            loss, gradient = jax.value_and_grad(of)(state.free)
            # Optax steps down the conjugate, where numbers are complex.
            return loss, jax.tree.map(jnp.conj, gradient)
        shapes = jax.eval_shape(lambda: (known.value, known.grad))

        def anew() -> tuple[Array, Free]:
            return like(jax.value_and_grad(of)(state.free), shapes)

        return jax.lax.cond(jnp.isfinite(known.value), lambda: (known.value, known.grad), anew)

    def _converged(self, loss: Array, gradient: Free) -> Array:
        """Whether a tolerance is met."""
        met = jnp.asarray(False)
        if "loss" in self.tolerances:
            met |= loss <= self.tolerances["loss"]
        if "gradient" in self.tolerances:
            squares = [jnp.sum(jnp.abs(slope) ** 2) for slope in gradient.values()]
            # Not where the gradient is NaN: an optimiser that skips such a step goes on.
            met |= jnp.sqrt(sum(squares)) <= self.tolerances["gradient"]
        return met


advance = Compiled(Descent.advance)


def _last(state: Any) -> Any:
    """The state of a line search, if that is the last of an optimiser's parts.

    A part after it, or around it, changes the step; then the line search does not know the loss
    where the step ends.
    """
    while type(state) is tuple and state:
        state = state[-1]
    return state if isinstance(state, _LINE_SEARCHES) else None


def _minibatch(
    args: tuple[Any, ...], order: Array, key: Array, count: Array, batch: int
) -> tuple[tuple[Any, ...], Array]:
    """The examples of one step, and the order that they are taken in, which is new each epoch."""
    examples = order.shape[0]
    epoch, index = jnp.divmod(count, examples // batch)

    def shuffled() -> Array:
        of_epoch = jax.random.fold_in(jax.random.fold_in(key, 0), epoch)
        return jax.random.permutation(of_epoch, examples).astype(order.dtype)

    order = jax.lax.cond(index == 0, shuffled, lambda: order)
    drawn = jax.lax.dynamic_slice(order, (index * batch,), (batch,))
    return jax.tree.map(lambda array: array[drawn], args), order


def _real_number(loss: Any) -> Array:
    if not eqx.is_array_like(loss) or jnp.shape(loss) != ():
        shape = jnp.shape(loss) if eqx.is_array_like(loss) else type(loss).__name__
        raise CircuitError(f"a loss must return one number, not {shape}")
    loss = jnp.asarray(loss)
    if not jnp.issubdtype(loss.dtype, jnp.floating):
        raise CircuitError(f"a loss must return a real number, not one of {loss.dtype}")
    return loss


def _all_finite(free: Free) -> Array:
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(value)) for value in free.values()]))


def like(tree: Any, models: Any) -> Any:
    """A pytree in the dtypes of another one, as the carry of a loop must be."""
    return jax.tree.map(
        lambda leaf, model: (
            jax.lax.convert_element_type(leaf, model.dtype)
            if jnp.issubdtype(model.dtype, jnp.number)
            else leaf
        ),
        tree,
        models,
    )
