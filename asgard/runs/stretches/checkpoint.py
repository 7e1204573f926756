"""The file that long work is saved to."""

import contextlib
import hashlib
import json
import math
import os
import re
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...errors import CircuitError
from .arrays import as_numbers, is_key

# Between checkpoints so many times as long passes as one takes to write, and a second at least.
SPARING = 100
LEAST_BETWEEN = 1.0
# The length of the digests, and of the number that says how long the types are.
_DIGEST, _COUNT = 32, 8


class Checkpoint:
    """The file that a run or a fit is saved to.

    It holds a digest of all that follows, a digest of what the run was given, and then what its
    loop carries: types, and numbers.
    """

    def __init__(self, path: str | os.PathLike[str], what: str, of_another: str):
        """`what` is what errors call the work; `of_another` says what makes it another one."""
        if not isinstance(path, str | os.PathLike):
            raise CircuitError(f"checkpoint must be the path of a file, not {path!r}")
        self.path, self.what, self.of_another = Path(path), what, of_another
        # Each process has its own: no two write into one file.
        self.partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        self.given = b""
        self.took, self.at = 0.0, time.perf_counter()
        if not self.path.parent.is_dir():
            raise CircuitError(f"checkpoint: there is no folder {self.path.parent}")
        if self.path.exists() and not self.path.is_file():
            raise CircuitError(f"checkpoint: {self.path} is not a file")

    def resume(self, work: Any) -> Any:
        """Where the work stood when it was last saved, or its start if it never was.

        Raises `CircuitError` if the file is damaged or of another run, or if none can be written.
        """
        self.given = _digest_of(work.given, work.program())
        now = work.start
        if self.path.exists():
            now = work.restored(self._load())
            if now is None:
                raise self.another()
        # A full disk or an unwritable folder is an error now, and not after the first stretch.
        self._save(now, keep=False)
        return now

    def follow(self, now: Any, surely: bool) -> None:
        """Saves what the loop carries after a stretch: surely, or if that is worth its time."""
        began = time.perf_counter()
        if surely or began - self.at >= max(LEAST_BETWEEN, SPARING * self.took):
            self._save(now)
            self.at = time.perf_counter()
            self.took = self.at - began

    def another(self) -> CircuitError:
        """What a file of another run raises."""
        return CircuitError(
            f"{self.path} is the checkpoint of another {self.what} ({self.of_another}): give "
            "another path, or remove it"
        )

    def _save(self, now: Any, keep: bool = True) -> None:
        """Replaces the file in one step: an interruption leaves the old one or the new one.

        Without `keep` the file stays as it is, and this is a trial.
        """
        arrays = [as_numbers(leaf) for leaf in jax.tree.leaves(now)]
        types = json.dumps([(array.dtype.name, array.shape) for array in arrays]).encode()
        parts = [
            self.given,
            len(types).to_bytes(_COUNT, "big"),
            types,
            *(array.tobytes() for array in arrays),
        ]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        try:
            with self.partial.open("wb") as file:
                file.writelines([digest.digest(), *parts])
                file.flush()
                os.fsync(file.fileno())
            if keep:
                os.replace(self.partial, self.path)
        except OSError as error:
            kept = f"; it still holds the {self.what} as last saved" if self.path.is_file() else ""
            raise CircuitError(
                f"checkpoint: {self.path} cannot be written: {error.strerror}{kept}"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                self.partial.unlink()

    def _load(self) -> list[np.ndarray]:
        """The arrays that the file holds."""
        content = memoryview(self.path.read_bytes())
        whole, rest = bytes(content[:_DIGEST]), content[_DIGEST:]
        if hashlib.sha256(rest).digest() != whole:
            raise CircuitError(
                f"{self.path} is damaged, or not a checkpoint of this version of Asgard: remove "
                "it, or give another path"
            )
        if rest[:_DIGEST] != self.given:
            raise self.another()
        body = _DIGEST + _COUNT
        start = body + int.from_bytes(rest[_DIGEST:body], "big")
        found = []
        for name, shape in json.loads(bytes(rest[body:start])):
            end = start + np.dtype(name).itemsize * math.prod(shape)
            found.append(np.frombuffer(rest[start:end], name).reshape(shape))
            start = end
        return found


def restored(array: np.ndarray, model: Any) -> Any:
    """A saved array as one like another, None where it is of another type."""
    numbers = as_numbers(model)
    if (array.shape, array.dtype) != (numbers.shape, numbers.dtype):
        return None
    found = jnp.array(array)  # no view of the file, for it is written over
    if is_key(model):
        return jax.random.wrap_key_data(found, impl=jax.random.key_impl(model))
    return found


def _digest_of(tree: Any, program: str) -> bytes:
    """A digest of a tree's structure, arrays and names of functions, and of a program: the same in
    each process."""
    leaves, structure = jax.tree.flatten(tree)
    # Functions in a circuit have another address in each process.
    said = re.sub(r" at 0x[0-9a-f]+", "", str(structure)) + program
    digest = hashlib.sha256(said.encode())
    for leaf in leaves:
        if eqx.is_array(leaf):
            array = as_numbers(leaf)
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        elif isinstance(leaf, str | bool | int | float | complex):
            digest.update(repr(leaf).encode())
        else:
            digest.update(getattr(leaf, "__qualname__", type(leaf).__qualname__).encode())
    return digest.digest()
