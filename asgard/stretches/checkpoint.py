"""Long fits: the compiled loop in stretches, with reports and checkpoints between them."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..errors import CircuitError
from .report import shown

Advance = Callable[[Any, int], tuple[Any, Any]]

# Up to this relative difference two losses are one, rounded differently by another machine.
SAME_LOSS = 1e-5


def in_stretches(
    advance: Advance,
    start: Any,
    steps: int,
    every: int,
    progress: Any,
    checkpoint: "Checkpoint | None",
    goes_on: Callable[[Any], bool],
) -> tuple[Any, Any]:
    """Runs a fit, with a report and a checkpoint after every `every` steps.

    **Arguments:** `advance(now, until)` takes the steps up to number `until`, of `steps`; `goes_on(now)` says
    whether the fit has not ended.

    **Returns:** where the fit ended, and the circuit there.
    """
    with shown(progress) as report:
        now = start if checkpoint is None else checkpoint.resume(advance, start)
        while True:
            now, circuit = advance(now, min(steps, int(now.steps) + every))
            if checkpoint is not None:
                checkpoint.save(now)
            done = int(now.steps)
            if report is not None:
                report(done, steps, float(now.loss))
            if done >= steps or not goes_on(now):
                return now, circuit


class Checkpoint:
    """The file that a fit is saved to.

    It holds a digest of all that follows, a digest of what the fit was given, and its progress.
    """

    def __init__(self, path: str | os.PathLike[str], given: Any):
        self.path = Path(path)
        self.partial = self.path.with_name(self.path.name + ".partial")
        self.given = _digest_of(given)
        if not self.path.parent.is_dir():
            raise CircuitError(f"checkpoint: there is no folder {self.path.parent}")
        if self.path.exists() and not self.path.is_file():
            raise CircuitError(f"checkpoint: {self.path} is not a file")

    def resume(self, advance: Advance, start: Any) -> Any:
        """Where the fit stood when it was last saved, or its start if it never was.

        Raises `CircuitError` if the file is damaged or of another fit, or if none can be written.
        A loss cannot be compared by its code. So the first two steps are taken again, and must give
        the losses that the file holds.
        """
        now = self._load(start) if self.path.exists() else start
        if now is not start:
            until = min(2, max(1, int(now.steps)))
            again, _ = advance(start, until)
            if not np.allclose(again.losses[:until], now.losses[:until], SAME_LOSS, 0, True):
                raise self._of_another()
        # A full disk or an unwritable folder is an error now, and not after the first stretch.
        self.save(now, keep=False)
        return now

    def save(self, progress: Any, keep: bool = True) -> None:
        """Replaces the file in one step: an interruption leaves the old one or the new one.

        Without `keep` the file stays as it is, and this is a trial.
        """
        numbers = map(_as_numbers, jax.tree.leaves(progress))
        content = self.given + b"".join(array.tobytes() for array in numbers)
        try:
            with self.partial.open("wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
                file.flush()
                os.fsync(file.fileno())
            if keep:
                os.replace(self.partial, self.path)
        except OSError as error:
            kept = "; it still holds the fit as last saved" if self.path.is_file() else ""
            raise CircuitError(
                f"checkpoint: {self.path} cannot be written: {error.strerror}{kept}"
            ) from error
        finally:
            if self.partial.is_file():
                self.partial.unlink()

    def _load(self, start: Any) -> Any:
        content = self.path.read_bytes()
        size = len(self.given)
        whole, given, body = content[:size], content[size : 2 * size], content[2 * size :]
        if hashlib.sha256(given + body).digest() != whole:
            raise CircuitError(
                f"{self.path} is damaged, or not a checkpoint of this version of Asgard: remove "
                "it, or give another path"
            )
        if given != self.given:
            raise self._of_another()
        # All shapes and dtypes are those of the start, which is part of what the fit was given.
        leaves, structure = jax.tree.flatten(start)
        models = list(map(_as_numbers, leaves))
        ends = np.cumsum([model.nbytes for model in models])
        parts = np.split(np.frombuffer(body, np.uint8), ends[:-1])
        arrays = [
            jnp.asarray(part.view(model.dtype).reshape(model.shape))
            for part, model in zip(parts, models, strict=True)
        ]
        for index, leaf in enumerate(leaves):
            if _is_key(leaf):
                key = jax.random.wrap_key_data(arrays[index], impl=jax.random.key_impl(leaf))
                arrays[index] = key
        return jax.tree.unflatten(structure, arrays)

    def _of_another(self) -> CircuitError:
        return CircuitError(
            f"{self.path} is the checkpoint of another fit (another start or loss, other data, "
            "another optimiser, key, batch or number of steps): give another path, or remove it"
        )


def _digest_of(tree: Any) -> bytes:
    """A digest of a tree's structure, arrays, and names of functions: the same in each process."""
    leaves, structure = jax.tree.flatten(tree)
    # Functions in a circuit have another address in each process.
    digest = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", str(structure)).encode())
    for leaf in leaves:
        if eqx.is_array(leaf):
            array = _as_numbers(leaf)
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        else:
            digest.update(getattr(leaf, "__qualname__", type(leaf).__qualname__).encode())
    return digest.digest()


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _as_numbers(leaf: Any) -> np.ndarray:
    """An array as one of NumPy; a key as the numbers that it is."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
