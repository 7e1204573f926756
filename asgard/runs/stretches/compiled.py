"""Runs by compiled programs, in stretches."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxlib import version as jaxlib_version
from jaxtyping import Array

from ...jaxprs.concrete import run_compiled
from ...jaxprs.meshes import without_mesh
from .label import RunLabel
from .unfinished import Unfinished, check_same
from .work import Work

# Zeros of more numbers are made anew: a copy of those of NumPy takes three times as long. Fewer are
# copied, as each shape of zeros compiles.
_LARGE = 100_000


class Carried(eqx.Module):
    """What a compiled loop carries, and where it stands: that has a flag `ended`."""

    loop: Any
    stand: Any


class Programs:
    """The compiled programs of runs in stretches. `given` is a pytree of what the run was given.

    - `blank(given)`: what is carried before the first turn. Only the types count.
    - `advance(given, loop, turns)`: what is carried after so many turns. It writes over the arrays
      of `loop`: a sequence of 5e7 samples would else copy 400 MB in each stretch.
    - `read(given, loop)`: the result.
    - `jit`: how they are compiled, `jax.jit` or `Jit`.
    """

    def __init__(
        self,
        blank: Callable[[Any], Carried],
        advance: Callable[[Any, Any, Array], Carried],
        read: Callable[[Any, Any], Any],
        jit: Callable[..., Any],
    ):
        self._advance, self._read = advance, read
        # Traced for its types alone, once.
        self.blank = jax.jit(blank)
        self.advance = jit(without_mesh(advance), donate_argnums=1)
        self.read = jit(without_mesh(read))

    def start(self, given: Any) -> Carried:
        """Zeros of the types of what is carried."""
        types = self.blank.eval_shape(given)
        return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), types)

    def advanced(self, given: Any, loop: Any, turns: int) -> Carried:
        """What is carried after so many turns."""
        count = jnp.asarray(turns, jnp.int32)
        return run_compiled(self.advance, self._advance, given, loop, count)

    def result(self, given: Any, loop: Any) -> Any:
        """What `read` says of it."""
        return run_compiled(self.read, self._read, given, loop)

    def text(self, given: Any, loop: Any) -> str:
        """The program of a stretch as text, with what compiles it and the device that it is for:
        others round otherwise."""
        device = jax.devices()[0]
        by = (jax.__version__, jaxlib_version.__version__, device.platform, device.device_kind)
        lowered = self.advance.lower(given, loop, jnp.asarray(0, jnp.int32))
        return "\n".join([*by, lowered.as_text()])


class LongRun(Work):
    """A run by compiled programs.

    - `arguments`: what the programs are given, with the `state` that the run begins from; `given`:
      the same as a pytree, by which the run is told from others.
    - `unfinished`: the interrupted run that it goes on with, if any.
    """

    programs: Programs
    what: str

    def __init__(self, arguments: Any, given: Any, unfinished: Unfinished | None):
        self.arguments, self.given = arguments, given
        self.is_fresh = unfinished is None
        if unfinished is not None:
            check_same(unfinished, self.label, self.what)
            self.start = unfinished.now
        else:
            self.start = self.programs.start(arguments)

    @property
    def label(self) -> RunLabel:
        """Which run it is."""
        return RunLabel.of(self.given)

    def advance(self, now: Carried, turns: int) -> Carried:
        loop = jax.tree.map(self._copied, now.loop) if now is self.start else now.loop
        return self.programs.advanced(self.arguments, loop, turns)

    def _copied(self, array: Any) -> Array:
        """An array of the start, to write over: what an interrupted run has left may be gone on
        with again."""
        if self.is_fresh and array.size > _LARGE:
            return jnp.zeros(array.shape, array.dtype)
        return jnp.array(array)

    def is_done(self, now: Carried) -> bool:
        return bool(now.stand.ended)

    def finished(self, now: Carried) -> Any:
        return self.programs.result(self.arguments, now.loop)

    def unfinished(self, now: Carried) -> Any:
        state = Unfinished(now, self.arguments.state, self.label)
        return dataclasses.replace(self.finished(now), state=state)

    def program(self) -> str:
        return self.programs.text(self.arguments, self.start.loop)
