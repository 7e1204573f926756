"""What tells a run from another one, to go on with a state of the same."""

import hashlib
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, UInt

from ...jaxprs.concrete import is_concrete
from .arrays import as_numbers


class RunLabel(eqx.Module):
    """What tells a run from another one: its structure, and a digest of its numbers.

    Functions are part of the structure, and compared by identity. The digest is 0 where a number is
    traced.
    """

    structure: Any = eqx.field(static=True)
    digest: UInt[Array | np.ndarray, " 2"]

    @classmethod
    def of(cls, *given: Any) -> "RunLabel":
        """The label of a run that was given these."""
        leaves, structure = jax.tree.flatten(given)
        if not is_concrete(*leaves):
            return cls(structure, np.zeros(2, np.uint32))
        digest = hashlib.sha256()
        for leaf in map(as_numbers, leaves):
            digest.update(f"{leaf.dtype}{leaf.shape}".encode() + leaf.tobytes())
        return cls(structure, np.frombuffer(digest.digest()[:8], np.uint32))

    def agrees(self, other: "RunLabel") -> bool:
        """Whether these may be of one run, as far as their numbers are known."""
        if self.structure != other.structure:
            return False
        if not is_concrete(self.digest, other.digest):
            return True
        digests = np.asarray(self.digest), np.asarray(other.digest)
        return not all(map(np.any, digests)) or np.array_equal(*digests)
