"""`fit_ensemble`: fits from many starts, side by side and device by device."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Int

from ..circuits.circuit import Circuit
from ..circuits.fields import check_count
from ..errors import CircuitError, FitError
from ..jaxprs.concrete import is_concrete
from ..jaxprs.makeup import Compiled, Made
from .descent import Descent
from .fit import arrays, begin, draws_from, tolerances, update_of
from .free import Trainable, chosen, free_values
from .result import Fit, FitStatus


class FitEnsemble(eqx.Module):
    """What fits from many starts give.

    - `best`: the fit of the least loss.
    - `all`: all fits, with the starts as the first axis of every array.
    - `agree`: how many came to the loss of the best.
    """

    best: Fit
    all: Fit
    agree: Int[Array, ""]

    def check(self) -> "FitEnsemble":
        """Raises `FitError` where every fit failed; returns the fits otherwise."""
        failed = self.all.status == FitStatus.nonfinite
        if is_concrete(failed) and np.all(failed):
            raise FitError(
                f"all {np.size(failed)} fits failed: {FitStatus[FitStatus.nonfinite]}", "nonfinite"
            )
        return self


def fit_ensemble(
    circuits: Circuit | Sequence[Circuit],
    loss: Callable[..., Any],
    *,
    args: tuple[Any, ...] = (),
    optimizer: optax.GradientTransformation,
    steps: int,
    trainable: Trainable = None,
    tol: float | Array | Mapping[str, Any] | None = None,
    key: Array | None = None,
    batch: int | None = None,
    agreement: float = 0.01,
    mesh: Mesh | None = None,
    throw: bool = True,
) -> FitEnsemble:
    """Fits from many starts at once, as one compiled program.

    **Arguments:** those of `fit`, and

    - `circuits`: circuits of one structure, or one circuit whose arrays have the starts as their
      first axis, which values handed to a function `trainable` have too.
    - `key`: start i draws from `jax.random.fold_in(key, i)`.
    - `agreement`: how far above the least loss another one may be to agree with it, relative to it.
      A loss that fell by all but the square root of the dtype's resolution counts as 0.
    - `mesh`: the devices to spread the starts over; they do not communicate until all are done.
    - `throw`: raise `FitError` where all fits failed.

    **Returns:** a `FitEnsemble`.

    **Raises:** as `fit`.

    To fit one circuit to many data sets, use `jax.vmap` over `fit` itself.

    ```python
    starts = [ag.update(circuit, {"scalar.factor": start}) for start in (0.1, 1.0, 10.0)]
    ag.fit_ensemble(starts, loss, optimizer=optax.adam(0.05), steps=500).best.circuit
    ```
    """
    if not (mesh is None or isinstance(mesh, Mesh)):
        raise CircuitError(f"fit_ensemble: mesh must be a jax.sharding.Mesh, not {mesh!r}")
    if not isinstance(agreement, int | float) or not agreement >= 0:
        raise CircuitError(f"fit_ensemble: agreement must be at least 0, not {agreement!r}")
    stacked = _stacked(circuits)
    moved = chosen(stacked, trainable)
    check_count("fit_ensemble", "steps", steps, least=1)
    args = arrays(args)
    draws = draws_from(loss, key, batch)
    problem = Descent(Made(loss), update_of(optimizer), draws, batch)
    free = free_values(stacked, moved)
    (count,) = {len(leaf) for leaf in jax.tree.leaves(stacked)}
    starts = jax.vmap(lambda free: begin(optimizer, free, args, batch, None, steps))(free)
    keys = (
        None if key is None else jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))
    )
    shared = (args, tolerances(tol), jnp.asarray(steps))
    end, fitted = _first(
        _compiled(problem, mesh, _padded((stacked, keys, starts), mesh), shared), count
    )
    every = Fit(fitted, end.losses, end.loss, end.steps, end.status, end.state)
    failed = every.status == FitStatus.nonfinite
    losses = jnp.where(failed, jnp.inf, every.loss)
    place = jnp.argmin(losses)
    best = jax.tree.map(lambda leaf: leaf[place], every)
    floor = jnp.sqrt(jnp.finfo(losses.dtype).eps) * jnp.max(
        jnp.where(jnp.isfinite(every.losses[:, :1]), every.losses[:, :1], 0), initial=0
    )
    near = losses <= losses[place] + agreement * jnp.abs(losses[place]) + floor
    agree = jnp.sum(near & ~failed)
    found = FitEnsemble(best, every, agree)
    return found.check() if throw else found


def _stacked(circuits: Any) -> Circuit:
    """The starts as one circuit."""
    if isinstance(circuits, Circuit):
        sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(circuits)}
        if len(sizes) != 1 or sizes == {()}:
            raise CircuitError(
                "fit_ensemble takes several circuits, or one whose arrays all have the starts as "
                "their first axis"
            )
        return circuits
    if (
        not isinstance(circuits, list | tuple)
        or not circuits
        or not all(isinstance(circuit, Circuit) for circuit in circuits)
    ):
        raise CircuitError("fit_ensemble takes circuits to start from")
    if len({jax.tree.structure(circuit) for circuit in circuits}) > 1:
        raise CircuitError("the circuits that fit_ensemble starts from must have one structure")
    try:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *circuits)
    except ValueError as error:
        raise CircuitError("the circuits' numbers must have the same shapes") from error


def _run(problem: Descent, mesh: Mesh | None, own: Any, shared: Any) -> Any:
    """All fits at once; with a mesh, each device runs its share to the end by itself."""

    def run(own: Any, shared: Any) -> Any:
        args, tolerances, until = shared

        def one(own: Any) -> Any:
            circuit, key, start = own
            return problem.advance(circuit, args, key, tolerances, start, until)

        return jax.vmap(one)(own)

    if mesh is None:
        return run(own, shared)
    spread = PartitionSpec(mesh.axis_names)
    over_devices = jax.shard_map(
        run,
        # With axes that shard_map may cut, whichever way the mesh was made.
        mesh=Mesh(mesh.devices, mesh.axis_names),
        in_specs=(spread, PartitionSpec()),
        out_specs=spread,
        check_vma=False,
    )
    return over_devices(own, shared)


_compiled = Compiled(_run, 1)


def _padded(tree: Any, mesh: Mesh | None) -> Any:
    """With the last start repeated until the devices have as many each."""
    if mesh is None:
        return tree
    return jax.tree.map(
        lambda leaf: jnp.concatenate([leaf, *[leaf[-1:]] * (-len(leaf) % mesh.size)]), tree
    )


def _first(tree: Any, count: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[:count], tree)
