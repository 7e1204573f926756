"""`fit_ensemble`: fits from many starts, side by side and device by device."""

import dataclasses
import os
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
from ..circuits.pictured import picture
from ..errors import CircuitError, FitError
from ..jaxprs.concrete import is_concrete
from ..jaxprs.settings import nonfinite_allowed
from ..runs.stretches.report import Report
from .compiled import Compiled
from .descent import Descent, Progress
from .fit import begin, prepare
from .free import Trainable, free_values, trained
from .long import LongFit, fit_in_stretches, is_long
from .result import Fit, FitStatus


class FitEnsemble(eqx.Module):
    """The fits from many starts.

    - `best`: the fit with the least loss.
    - `all`: all fits, with the starts as the first axis of every array.
    - `agree`: how many reached the loss of the best.
    """

    best: Fit
    all: Fit
    agree: Int[Array, ""]

    def __repr__(self) -> str:
        return picture("fit_ensemble.text", self)

    def check(self) -> "FitEnsemble":
        """Raises `FitError` if every fit failed, and returns the fits otherwise."""
        failed = self.all.status == FitStatus.nonfinite
        if is_concrete(failed) and np.all(failed):
            raise FitError(
                f"all {np.size(failed)} fits failed: {FitStatus[FitStatus.nonfinite]}", "nonfinite"
            )
        return self


@nonfinite_allowed()
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
    progress: bool | Report = False,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int | None = None,
    throw: bool = True,
) -> FitEnsemble:
    """Fits from many starts at once, as one compiled program.

    **Arguments:** those of `fit`, and

    - `circuits`: circuits of one structure, or one circuit whose arrays have the starts as their
      first axis. The values that a function `trainable` is given have that axis, too.
    - `key`: start i draws from `jax.random.fold_in(key, i)`.
    - `agreement`: how far above the least loss another one may be to agree with it, relative to it.
      Losses below the square root of the dtype's resolution, relative to the largest first loss,
      count as 0.
    - `mesh`: the devices to spread the starts over. They do not communicate until all are done.
    - `progress`: as in `fit`; a function is called with the steps of the fits that go on, `steps`
      and the least loss.
    - `checkpoint`, `every`: as in `fit`, of all fits.
    - `throw`: raise `FitError` where all fits failed.

    **Returns:** a `FitEnsemble`.

    **Raises:** as `fit`. The result of `Interrupted` is a `FitEnsemble`, and each of its fits has a
    `state` to go on from by `fit`.

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
    free = free_values(stacked, trained(stacked, trainable))
    descent = prepare(stacked, loss, args, optimizer, steps, tol, key, batch)
    count = len(jax.tree.leaves(stacked)[0])
    starts = jax.vmap(lambda free: begin(optimizer, free, descent, steps, None))(free)
    if key is not None:
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))
        descent = dataclasses.replace(descent, key=keys)
    many = _Many(descent, mesh)
    if is_long((descent, starts), progress, checkpoint, every, "fit_ensemble"):
        work = _LongMany(many, starts, agreement)
        found = fit_in_stretches(work, progress, checkpoint, every)
    else:
        end, fitted = _compiled(many, starts, jnp.asarray(steps))
        found = _compared(fitted, end, end.status, agreement)
    return found.check() if throw else found


def _compared(circuit: Circuit, end: Progress, status: FitStatus, agreement: float) -> FitEnsemble:
    """The fits, and the best of them."""
    every = Fit(circuit, end.losses, end.loss, end.steps, status, end.state)
    failed = status == FitStatus.nonfinite
    losses = jnp.where(failed, jnp.inf, every.loss)
    best = jnp.argmin(losses)
    first = every.losses[:, 0]
    floor = jnp.max(jnp.where(jnp.isfinite(first), first, 0), initial=0)
    floor *= jnp.sqrt(jnp.finfo(losses.dtype).eps)
    near = losses <= losses[best] + agreement * jnp.abs(losses[best]) + floor
    agree = jnp.sum(near & ~failed)
    return FitEnsemble(jax.tree.map(lambda leaf: leaf[best], every), every, agree)


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


class _Many(eqx.Module):
    """A fit whose circuit and key have the starts as their first axis, `[starts, ...]`."""

    descent: Descent
    mesh: Mesh | None = eqx.field(static=True)

    def run(self, starts: Progress, until: Array) -> tuple[Progress, Circuit]:
        """All fits at once. With a mesh, each device runs its share to the end by itself."""
        mesh, descent = self.mesh, self.descent
        own = descent.circuit, descent.key, starts
        shared = descent.args, descent.tolerances, until

        def fits(own: Any, shared: Any) -> tuple[Progress, Circuit]:
            args, limits, until = shared

            def one(circuit: Circuit, key: Array | None, start: Progress) -> Any:
                given = {"circuit": circuit, "key": key, "args": args, "tolerances": limits}
                return dataclasses.replace(descent, **given).advance(start, until)

            return jax.vmap(one)(*own)

        if mesh is None:
            return fits(own, shared)
        # The devices take as many starts each: the last one is repeated.
        count = starts.steps.shape[0]
        filled = jax.tree.map(
            lambda leaf: jnp.concatenate([leaf, *[leaf[-1:]] * (-count % mesh.size)]), own
        )
        spread = PartitionSpec(mesh.axis_names)
        over_devices = jax.shard_map(
            fits,
            # With axes that shard_map may cut, whichever way the mesh was made.
            mesh=Mesh(mesh.devices, mesh.axis_names),
            in_specs=(spread, PartitionSpec()),
            out_specs=spread,
            check_vma=False,
        )
        return jax.tree.map(lambda leaf: leaf[:count], over_devices(filled, shared))


_compiled = Compiled(_Many.run)


class _LongMany(LongFit):
    """Fits from many starts in stretches: all take a step in a turn."""

    def __init__(self, many: _Many, starts: Progress, agreement: float):
        super().__init__(starts, (many.descent, starts.state))
        self.many, self.agreement = many, agreement

    def until(self, now: Progress, step: Array) -> tuple[Progress, Circuit]:
        return _compiled(self.many, now, step)

    def result(self, now: Progress, status: FitStatus) -> FitEnsemble:
        return _compared(self.circuit, now, status, self.agreement)
