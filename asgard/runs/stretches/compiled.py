"""Runs by compiled programs, in stretches."""

import dataclasses
from collections.abc import Callable
from typing import Any

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


class Programs:
    """The compiled programs of runs in stretches. All are given what the run was.

    - `blank(*given)`: what its loop carries before the first turn, and where it stands then. Only
      the types count.
    - `advance(*given, now, turns)`: the same after so many turns. It writes over the arrays of
      `now`: a sequence of 5e7 samples would else copy 400 MB in each stretch.
    - `read(*given, now)`: the result.

    The `last` argument of what is given is static.
    """

    def __init__(
        self,
        blank: Callable[..., Any],
        advance: Callable[..., Any],
        read: Callable[..., Any],
        last: int,
    ):
        self.plain = advance, read
        # Traced for its types alone, once.
        self.blank = jax.jit(blank, static_argnums=last)
        self.advance = jax.jit(without_mesh(advance), static_argnums=last, donate_argnums=last + 1)
        self.read = jax.jit(without_mesh(read), static_argnums=last)

    def start(self, given: tuple[Any, ...]) -> Any:
        """Zeros of the types of what the loop carries, and of where it stands."""
        types = self.blank.eval_shape(*given)
        return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), types)

    def advanced(self, given: tuple[Any, ...], now: Any, turns: int) -> Any:
        """What the loop carries after so many turns, and where it stands."""
        more = now, jnp.asarray(turns, jnp.int32)
        return run_compiled(self.advance, self.plain[0], *given, *more)

    def result(self, given: tuple[Any, ...], now: Any) -> Any:
        """What `read` says of it."""
        return run_compiled(self.read, self.plain[1], *given, now)

    def text(self, given: tuple[Any, ...], now: Any) -> str:
        """The program of a stretch as text, with what compiles it and the device that it is for:
        others round otherwise."""
        device = jax.devices()[0]
        by = (jax.__version__, jaxlib_version.__version__, device.platform, device.device_kind)
        lowered = self.advance.lower(*given, now, jnp.asarray(0, jnp.int32))
        return "\n".join([*by, lowered.as_text()])


class LongRun(Work):
    """A run by compiled programs. What its loop carries is a pair with where it stands.

    - `arguments`: what the programs are given; `given`: the same as a pytree, by which the run is
      told from others.
    - `state`: what it begins from; `unfinished`: the interrupted run that it goes on with, if any.
    """

    programs: Programs
    what: str

    def __init__(
        self,
        arguments: tuple[Any, ...],
        given: tuple[Any, ...],
        state: Any,
        unfinished: Unfinished | None,
    ):
        self.arguments, self.given, self.state = arguments, given, state
        self.is_fresh = unfinished is None
        if unfinished is not None:
            check_same(unfinished, self.label, self.what)
            self.start = unfinished.now
        else:
            self.start = self.programs.start(arguments)

    @property
    def label(self) -> RunLabel:
        """Which run it is."""
        return RunLabel.of(*self.given)

    def advance(self, now: tuple[Any, Any], turns: int) -> tuple[Any, Any]:
        held = jax.tree.map(self._copied, now[0]) if now is self.start else now[0]
        return self.programs.advanced(self.arguments, held, turns)

    def _copied(self, array: Any) -> Array:
        """An array of the start, to write over: what an interrupted run has left may be gone on
        with again."""
        if self.is_fresh and array.size > _LARGE:
            return jnp.zeros(array.shape, array.dtype)
        return jnp.array(array)

    def is_done(self, now: tuple[Any, Any]) -> bool:
        return bool(now[1].ended)

    def finished(self, now: tuple[Any, Any]) -> Any:
        return self.programs.result(self.arguments, now[0])

    def unfinished(self, now: tuple[Any, Any]) -> Any:
        state = Unfinished(now, self.state, self.label)
        return dataclasses.replace(self.finished(now), state=state)

    def program(self) -> str:
        return self.programs.text(self.arguments, self.start[0])
