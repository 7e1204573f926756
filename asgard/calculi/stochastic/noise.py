"""Random numbers by counting: pure functions of the key, the path, the step and the source.

One block of Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw, *Parallel random numbers:
as easy as 1, 2, 3*, 2011) gives two words. Its counter is the path and the base step, or two base
steps where the block becomes two normal numbers. Its key is made once, outside of every loop, of
the run's key, the source's name, what the number is for and its index in the bridge. So no path
needs a key of its own, and numbers do not depend on how a run is cut up.
"""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact, UInt

from ...errors import CircuitError
from ...jaxprs.fences import as_pair, of_pair, one_by_one
from .normal import normal_pair

Words = tuple[Array, Array]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)

# What a source's numbers are for: the increment, the time integral beside it, the two of a
# midpoint, signs, the count of jumps and their sizes.
INCREMENT, AREA, MIDPOINT, MIDPOINT_AREA, SIGN, COUNT, SIZE = range(7)

# A step is cut into 2^halvings parts, each with keys of its own.
MOST_HALVINGS = 16


def label(purpose: int, level: int = 0, index: int = 0) -> int:
    """A purpose, and an index in a level of the bridge, as one number of 32 bits."""
    return purpose | level << 3 | index << 8


def key_words(key: Any) -> Words:
    """64 bits of a JAX key of any kind."""
    if key is None:
        raise CircuitError("Stochastic draws random numbers: give key=jax.random.key(0)")
    try:
        words = jax.random.bits(key, (2,), jnp.uint32)
    except (TypeError, ValueError) as error:
        raise CircuitError(
            f"key must be a JAX key such as jax.random.key(0), not {key!r}"
        ) from error
    return words[0], words[1]


def threefry(key: Words, counter: tuple[Any, Any]) -> Words:
    """The block of a key and a counter, elementwise."""
    zero, one = key
    keys = (zero, one, zero ^ one ^ _PARITY)
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x = x + y
            y = (y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation))
            y = y ^ x
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def uniform(words: Words, dtype: Any) -> Array:
    """A number between 0 and 1, both excluded, that is dense at 0."""
    fraction = words[0].astype(dtype)
    if dtype == jnp.float64:
        fraction = fraction + words[1].astype(dtype) * 2.0**-32
    return jnp.minimum((fraction + 0.5) * 2.0**-32, 1 - jnp.finfo(dtype).epsneg)


def sign(words: Words, dtype: Any) -> Array:
    """1 or -1."""
    return 1 - 2 * (words[0] & np.uint32(1)).astype(dtype)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Standard normal numbers of consecutive steps: `pairs`, `[pairs, labels, paths, *shape]`, hold
    those of an even step and of the next as one complex number (`fences.as_pair`). `skipped` says
    that the first step is the second of its pair.

    Read a row inside a loop that does not draw the pairs. Otherwise XLA draws them for each row.
    """

    pairs: Inexact[Array, "pairs labels paths ..."]
    skipped: UInt[Array, ""]

    def row(self, number: Array) -> Float[Array, "labels paths ..."]:
        """The numbers of a step, counted from the first."""
        index = self.skipped + number.astype(jnp.uint32)
        half = (index >> np.uint32(1)).astype(jnp.int32)
        row = lax.dynamic_index_in_dim(self.pairs, half, keepdims=False)
        return of_pair(row, (index & np.uint32(1)) == 1)

    def rows(self, count: int) -> Float[Array, "steps labels paths ..."]:
        """The numbers of all steps."""
        return one_by_one(self.row, jnp.arange(count, dtype=jnp.uint32))


@dataclasses.dataclass(frozen=True)
class Numbers:
    """What a run draws from: the words of its key, the dtype of the numbers, and its paths."""

    words: Words
    dtype: Any
    paths: Array

    def key(self, source: str, labels: Sequence[int], size: int) -> Words:
        """The keys of `size` numbers under each label, `[labels, size]`."""
        digest = np.frombuffer(hashlib.sha256(source.encode()).digest(), np.dtype("<u4"))
        named = threefry(self.words, (digest[0], digest[1]))
        indices = jnp.arange(size, dtype=jnp.uint32)
        return threefry(named, (jnp.asarray(labels, jnp.uint32)[:, None], indices))

    def normals(self, key: Words, first: Array, count: int, shape: tuple[int, ...]) -> Pairs:
        """Standard normal numbers for `count` steps: two steps share a block."""
        blocks = (first >> np.uint32(1)) + jnp.arange(count // 2 + 1, dtype=jnp.uint32)
        numbers = normal_pair(self._blocks(key, blocks), self.dtype)
        pairs = as_pair(*numbers)
        return Pairs(pairs.reshape(*pairs.shape[:3], *shape), first & np.uint32(1))

    def signs(self, key: Words, first: Array, count: int, shape: tuple[int, ...]) -> Array:
        """Signs `[steps, labels, paths, *shape]`."""
        return self._each(sign, key, first, count, shape)

    def uniforms(self, key: Words, first: Array, count: int, shape: tuple[int, ...]) -> Array:
        """Numbers between 0 and 1, `[steps, labels, paths, *shape]`."""
        return self._each(uniform, key, first, count, shape)

    def _each(self, make: Any, key: Words, first: Array, count: int, shape: Any) -> Array:
        """A number of each step, from a block of its own."""
        steps = first + jnp.arange(count, dtype=jnp.uint32)
        found = make(self._blocks(key, steps), self.dtype)
        return found.reshape(*found.shape[:3], *shape)

    def _blocks(self, key: Words, counts: Array) -> Words:
        """Blocks `[counts, labels, paths, size]`, without the last axis where it has length 1."""
        labels, size = key[0].shape
        full = (counts.shape[0], labels, self.paths.shape[0], size)
        key = key[0].reshape(1, labels, 1, size), key[1].reshape(1, labels, 1, size)
        counter = self.paths[:, None], counts[:, None, None, None]
        if size == 1:
            # An axis of length 1 at the end would cost the CPU its vectors.
            full = full[:-1]
            key, counter = jax.tree.map(lambda word: word[..., 0], (key, counter))
        wide = [jnp.broadcast_to(word, full) for word in (*key, *counter)]
        return threefry((wide[0], wide[1]), (wide[2], wide[3]))


@dataclasses.dataclass(frozen=True)
class Source:
    """A Wiener process by name, with the shape of its independent components."""

    name: str
    shape: tuple[int, ...]


def increments(numbers: Numbers, source: Source, first: Array, count: int) -> Pairs:
    """Increments of a process over base steps of length 1, under one label."""
    key = numbers.key(source.name, [label(INCREMENT)], math.prod(source.shape))
    return numbers.normals(key, first, count, source.shape)


def bridge(
    numbers: Numbers, source: Source, first: Array, count: int, halvings: int
) -> tuple[Array, Array]:
    """W and H over base steps of length 1, each halved so many times.

    Both are `[count * 2^halvings, paths, *shape]`. W are the increments and H the space-time Lévy
    areas: the integral of the process over a step, less its start, is W/2 + H times the length.
    A step's halves have the law of Foster, Lyons and Oberhauser (*An optimal polynomial
    approximation of Brownian motion*, 2020), which keeps the path where steps are halved.
    """
    size = math.prod(source.shape)
    counts = [2 ** (level - 1) for level in range(1, halvings + 1)]
    keys = []
    for root, later in ((INCREMENT, MIDPOINT), (AREA, MIDPOINT_AREA)):
        labels = [
            label(later, level, index)
            for level, parts in enumerate(counts, 1)
            for index in range(parts)
        ]
        keys.append(numbers.key(source.name, [label(root), *labels], size))

    def draw(keys: Any) -> Any:
        own = jax.tree.map(lambda words: words[None], keys)
        return tuple(numbers.normals(k, first, count, source.shape).rows(count)[:, 0] for k in own)

    (w, z), (h, n) = ((drawn[:1], drawn[1:]) for drawn in one_by_one(draw, tuple(keys)))
    h = h * math.sqrt(1 / 12)
    for parts in counts:
        level = slice(parts - 1, 2 * parts - 1)
        length = jnp.full(parts, 1 / parts, w.dtype)
        halves = one_by_one(_halved, (w, h, z[level], n[level], length))
        w, h = (both.reshape(-1, *both.shape[2:]) for both in halves)
    w, h = (jnp.moveaxis(array, 0, 1) for array in (w, h))
    return w.reshape(-1, *w.shape[2:]), h.reshape(-1, *h.shape[2:])


def _halved(part: tuple[Array, ...]) -> tuple[Array, Array]:
    """W and H over the two halves of a part of some length, from its own and two normal numbers."""
    w, h, z, n, length = part
    z, n = z * jnp.sqrt(length / 16), n * jnp.sqrt(length / 48)
    first, middle = w / 2 + 1.5 * h + z, h / 4 - z / 2
    return jnp.stack([first, w - first]), jnp.stack([middle + n, middle - n])
