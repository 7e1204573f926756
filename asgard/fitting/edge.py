"""What a long fit does between stretches of its compiled loop: report, and save itself."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..errors import CircuitError
from .descent import Progress
from .result import FitStatus

Advance = Callable[[Progress, int], tuple[Progress, Any]]
# Called with the step that a fit has come to, how many there are, and the last loss.
Report = Callable[[int, int, float], None]


def in_stretches(
    advance: Advance, start: Progress, steps: int, every: int, report: Any, saved: "Saved | None"
) -> tuple[Progress, Any]:
    """Runs a fit, stopping for a report and a checkpoint every so many steps."""
    with _shown(report) as shown:
        progress = start if saved is None else saved.load(start)
        while True:
            done = int(progress.steps)
            progress, circuit = advance(progress, min(steps, done + every))
            if saved is not None:
                saved.save(progress)
            done, going = int(progress.steps), bool(progress.status == FitStatus.steps)
            if shown is not None:
                shown(done, steps, float(progress.loss))
            if done >= steps or not going:
                return progress, circuit


class Saved:
    """A checkpoint of a fit: a file that knows of which fit it is."""

    def __init__(self, path: str | os.PathLike[str], of: Any, made: str):
        self.path = Path(path)
        self.digest = _digest(of, made)
        if not self.path.parent.is_dir():
            raise CircuitError(f"checkpoint: there is no folder {self.path.parent}")

    def load(self, start: Progress) -> Progress:
        """Where the fit stood when it was last saved, or its start where it never was."""
        if not self.path.exists():
            return start
        with self.path.open("rb") as file:
            if file.read(len(self.digest)) != self.digest:
                raise CircuitError(
                    f"{self.path} is the checkpoint of another fit (another start or loss, other "
                    "data, another optimiser, key, batch or number of steps): give another path, "
                    "or remove it"
                )
            try:
                plain = eqx.tree_deserialise_leaves(file, _plain(start))
            except Exception as error:
                raise CircuitError(f"{self.path} is a damaged checkpoint: remove it") from error
            return _with_keys(plain, start)

    def save(self, progress: Progress) -> None:
        """Replaces the file at once, so that an interruption leaves the old or the new one."""
        partial = self.path.with_name(self.path.name + ".partial")
        with partial.open("wb") as file:
            file.write(self.digest)
            eqx.tree_serialise_leaves(file, _plain(progress))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self.path)


def _digest(tree: Any, made: str) -> bytes:
    leaves, structure = jax.tree.flatten(_plain(tree))
    digest = hashlib.sha256(f"{structure}{made}".encode())
    for leaf in leaves:
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.digest()


def _is_key(leaf: Any) -> bool:
    return eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(tree: Any) -> Any:
    """A pytree with JAX's keys as the numbers that they are."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _with_keys(tree: Any, like: Any) -> Any:
    return jax.tree.map(
        lambda leaf, model: (
            jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(model))
            if _is_key(model)
            else leaf
        ),
        tree,
        like,
    )


@contextlib.contextmanager
def _shown(report: Any) -> Iterator[Report | None]:
    if report is not True:
        if report is not False and not callable(report):
            raise CircuitError(f"progress must be True, False or a function, not {report!r}")
        yield cast(Report, report) if report else None
        return
    try:
        from tqdm import tqdm  # pyright: ignore[reportMissingModuleSource]
    except ImportError:
        yield _line
        return
    with contextlib.ExitStack() as stack:
        bar: Any = None

        def move(step: int, steps: int, loss: float) -> None:
            nonlocal bar
            bar = stack.enter_context(tqdm(total=steps)) if bar is None else bar
            bar.set_postfix(loss=f"{loss:.6g}", refresh=False)
            bar.update(step - bar.n)

        yield move


def _line(step: int, steps: int, loss: float) -> None:
    sys.stderr.write(f"step {step} of {steps}: loss {loss:.6g}\n")
