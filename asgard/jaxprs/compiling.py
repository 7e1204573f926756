"""How programs of small values are compiled.

XLA's newer emitters set up a compiler of their own for each operation of a program on the CPU: 10
ms each, where the older ones take 4. Measured with jaxlib 0.10.2 in processor time, first calls of
runs take about half by the older ones: Lorenz 0.55 and 0.30 s, Lorenz-96 of 200 variables 1.4 and
0.7, the heat equation on 1,000 points by Radau 2.2 and 1.3. Later calls take as long up to 1,000
numbers; 5,000 take 1.15 times as long. Fits compile in half the time, and their steps take as long;
but those of a network of 16 x 16 on 32 rows take 1.3 times as long. So programs of larger arrays,
and of matrices, keep to the newer ones: `emitters.py` of the benchmarks. Kernels (`kernel.py`) are
by the older ones anyway.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
from jax.extend.core import get_opaque_trace_state
from jaxlib import version as jaxlib_version

# From this jaxlib on XLA has no older emitters, and refuses the option.
WITHOUT_OLDER_EMITTERS = (0, 11)
# Arrays of up to so many numbers are small; matrices of up to so many.
SMALL, SMALL_MATRIX = 2048, 64
# That of a new thread: this module may be imported while a function is traced.
with ThreadPoolExecutor(1) as _thread:
    _OUTERMOST = _thread.submit(get_opaque_trace_state).result()


class Jit:
    """A function as `jax.jit` gives it, and by XLA's older emitters if it is a small whole program.

    A program is small if its first argument, what it runs, holds no large array. What a loop
    carries does not count, so that the pieces of a run are compiled as the whole run is. Inside of
    another program, or under `jax.grad` or `jax.vmap`, the function is a part like any other: JAX
    refuses options there.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        static_argnums: int | Sequence[int] = (),
        donate_argnums: int | Sequence[int] = (),
    ):
        self.jit = functools.partial(
            jax.jit, fn, static_argnums=static_argnums, donate_argnums=donate_argnums
        )
        self.part = self.jit()

    @functools.cached_property
    def whole(self) -> Any:
        """The function as a program of its own."""
        is_older = jaxlib_version.__version_info__[:2] < WITHOUT_OLDER_EMITTERS
        if not is_older or jax.default_backend() != "cpu":
            return self.part
        return self.jit(compiler_options={"xla_cpu_use_fusion_emitters": False})

    def __call__(self, system: Any, *arguments: Any) -> Any:
        return self._program(system)(system, *arguments)

    def lower(self, system: Any, *arguments: Any) -> Any:
        """The program before it is compiled, as `jax.jit` gives it."""
        return self._program(system).lower(system, *arguments)

    def _program(self, system: Any) -> Any:
        if get_opaque_trace_state() != _OUTERMOST:
            return self.part
        return self.whole if all(map(_is_small, jax.tree.leaves(system))) else self.part


def _is_small(leaf: Any) -> bool:
    most = SMALL_MATRIX if getattr(leaf, "ndim", 0) > 1 else SMALL
    return getattr(leaf, "size", 1) <= most
