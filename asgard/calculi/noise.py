"""Random numbers by counting: pure functions of the key, the path, the step and the source.

One block of Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw, *Parallel random numbers:
as easy as 1, 2, 3*, 2011) gives two words for each (path, base step), under a key that was made,
outside of every loop, from the run's key, the source's name, the number's purpose and its place in
the bridge. So no path needs a key of its own, and numbers do not depend on how a run is cut up.
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
from jaxtyping import Array

from ..errors import CircuitError

Words = tuple[Array, Array]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)

# What a source's numbers are for: the increment, the time integral beside it, the two of a
# midpoint, signs, the count of jumps and their sizes.
INCREMENT, AREA, MIDPOINT, MIDPOINT_AREA, SIGN, COUNT, SIZE = range(7)


def label(purpose: int, level: int = 0, place: int = 0) -> int:
    """A purpose at a place in a level of the bridge, as one number of 32 bits."""
    return purpose | level << 3 | place << 8


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


def normal(words: Words, dtype: Any) -> Array:
    """A standard normal number by the inverse error function, as `jax.random.normal` makes it.

    float32 takes the first word, float64 both.
    """
    one = _between(words, dtype, 1.0)
    least = np.nextafter(np.asarray(-1, dtype), np.asarray(0, dtype))
    uniform = jnp.maximum(least, (one - 1) * (1 - least) + least)
    return lax.mul(jnp.asarray(math.sqrt(2), dtype), lax.erf_inv(uniform))


def uniform(words: Words, dtype: Any) -> Array:
    """A number between 0 and 1, both excluded, that is dense at 0."""
    fraction = words[0].astype(dtype)
    if dtype == jnp.float64:
        fraction = fraction + words[1].astype(dtype) * 2.0**-32
    return jnp.minimum((fraction + 0.5) * 2.0**-32, 1 - jnp.finfo(dtype).epsneg)


def sign(words: Words, dtype: Any) -> Array:
    """1 or -1."""
    return 1 - 2 * (words[0] & np.uint32(1)).astype(dtype)


def _between(words: Words, dtype: Any, start: float) -> Array:
    """A number from `start`, a power of two, to twice that, by its mantissa's bits."""
    if dtype == jnp.float64:
        bits = (words[0].astype(jnp.uint64) << np.uint64(32)) | words[1].astype(jnp.uint64)
    else:
        bits = words[0]
    info = jnp.finfo(dtype)
    pattern = np.asarray(start, dtype).view(bits.dtype)
    return lax.bitcast_convert_type(
        (bits >> bits.dtype.type(info.bits - info.nmant)) | pattern, dtype
    )


@dataclasses.dataclass(frozen=True)
class Numbers:
    """What a run draws from: the words of its key, the dtype of the numbers, and its paths."""

    words: Words
    dtype: Any
    paths: Array

    def key(self, source: str, labels: Sequence[int], size: int) -> Words:
        """The keys of `size` numbers under each label, `[labels, blocks]`."""
        digest = np.frombuffer(hashlib.sha256(source.encode()).digest(), np.dtype("<u4"))
        named = threefry(self.words, (digest[0], digest[1]))
        blocks = jnp.arange(-(-size // self._a_block), dtype=jnp.uint32)
        return threefry(named, (jnp.asarray(labels, jnp.uint32)[:, None], blocks))

    def normals(self, key: Words, steps: Array, shape: tuple[int, ...]) -> Array:
        """Standard normal numbers `[steps, labels, paths, *shape]`."""
        return self._draw(key, steps, shape, normal)

    def signs(self, key: Words, steps: Array, shape: tuple[int, ...]) -> Array:
        """Signs `[steps, labels, paths, *shape]`."""
        return self._draw(key, steps, shape, sign)

    def uniforms(self, key: Words, steps: Array, shape: tuple[int, ...]) -> Array:
        """Numbers between 0 and 1, `[steps, labels, paths, *shape]`."""
        return self._draw(key, steps, shape, uniform)

    @property
    def _a_block(self) -> int:
        """How many numbers a block gives."""
        return 1 if self.dtype == jnp.float64 else 2

    def _draw(self, key: Words, steps: Array, shape: tuple[int, ...], make: Any) -> Array:
        size = math.prod(shape)
        labels, blocks = key[0].shape
        full = (steps.shape[0], labels, self.paths.shape[0], blocks)
        if blocks == 1:
            # Without an axis of length 1 at the end, which would cost the CPU its vectors.
            full = full[:-1]
            key = key[0].reshape(1, labels, 1), key[1].reshape(1, labels, 1)
            counter = self.paths, steps[:, None, None]
        else:
            key = key[0].reshape(1, labels, 1, blocks), key[1].reshape(1, labels, 1, blocks)
            counter = self.paths[:, None], steps[:, None, None, None]
        wide = [jnp.broadcast_to(word, full) for word in (*key, *counter)]
        block = threefry((wide[0], wide[1]), (wide[2], wide[3]))
        if self._a_block == 1 or size == 1:
            return make(block, self.dtype).reshape(*full[:3], *shape)
        pairs = jnp.stack([make((word, word), self.dtype) for word in block], axis=-1)
        return pairs.reshape(*full[:3], -1)[..., :size].reshape(*full[:3], *shape)


@dataclasses.dataclass(frozen=True)
class Source:
    """A Wiener process by name, with the shape of its independent components."""

    name: str
    shape: tuple[int, ...]


def wiener(
    numbers: Numbers, source: Source, steps: Array, halvings: int, area: bool
) -> tuple[Array, Array | None]:
    """Increments of a process over base steps of length 1, each halved so many times.

    Returns W, `[steps * 2^halvings, paths, *shape]`, and where `area` the space-time Lévy area H of
    each: the integral of the process over the step, less its start, is W/2 + H times the length.
    A step's halves have the law of Foster, Lyons and Oberhauser (*An optimal polynomial
    approximation of Brownian motion*, 2020), which keeps the path where steps are halved.
    """
    size = math.prod(source.shape)
    if not (area or halvings):
        key = numbers.key(source.name, [label(INCREMENT)], size)
        return _flat(numbers.normals(key, steps, source.shape)), None
    counts = [2 ** (level - 1) for level in range(1, halvings + 1)]
    keys = []
    for root, later in ((INCREMENT, MIDPOINT), (AREA, MIDPOINT_AREA)):
        labels = [
            label(later, level, place)
            for level, count in enumerate(counts, 1)
            for place in range(count)
        ]
        keys.append(numbers.key(source.name, [label(root), *labels], size))

    def draw(keys: Any) -> Any:
        own = jax.tree.map(lambda words: words[None], keys)
        return tuple(numbers.normals(key, steps, source.shape)[:, 0] for key in own)

    # Loops over places, since XLA would else draw a number again for each part that it acts on.
    (w, z), (h, n) = ((drawn[:1], drawn[1:]) for drawn in lax.map(draw, tuple(keys)))
    h = h * math.sqrt(1 / 12)
    for count in counts:
        places = slice(count - 1, 2 * count - 1)
        length = jnp.full(count, 1 / count, w.dtype)
        parts = lax.map(_halved, (w, h, z[places], n[places], length))
        w, h = (both.reshape(-1, *both.shape[2:]) for both in parts)
    w, h = (jnp.moveaxis(array, 0, 1) for array in (w, h))
    return _flat(w), _flat(h) if area else None


def _halved(part: tuple[Array, ...]) -> tuple[Array, Array]:
    """W and H over the two halves of a part of some length, from its own and two normal numbers."""
    w, h, z, n, length = part
    z, n = z * jnp.sqrt(length / 16), n * jnp.sqrt(length / 48)
    first, middle = w / 2 + 1.5 * h + z, h / 4 - z / 2
    return jnp.stack([first, w - first]), jnp.stack([middle + n, middle - n])


def _flat(array: Array) -> Array:
    return array.reshape(-1, *array.shape[2:])
