"""How programs of small values are compiled.

XLA's newer emitters set up a compiler of their own for each operation of a program on the CPU: 10
ms each, where the older ones take 4. Measured with jaxlib 0.10.2 in processor time, first calls of
runs take a fifth to a third less by the older ones, and later calls as long: Radau on 800 unknowns
4.3 and 3.0 s, then 52 and 47 ms; Lorenz 0.69 and 0.56 s, then 0.4 ms. A batch of 20,000 paths takes
a quarter longer, so programs of large arrays keep to the newer ones. Kernels (`kernel.py`) are by
the older ones anyway.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import get_opaque_trace_state
from jaxlib import version as jaxlib_version

# From this jaxlib on XLA has no older emitters, and refuses the option.
WITHOUT_OLDER_EMITTERS = (0, 12)
_OUTERMOST = get_opaque_trace_state()


class Compiled:
    """A function as `jax.jit` gives it, by XLA's older emitters if it is a program of its own.

    Inside of another program, or under `jax.grad` or `jax.vmap`, it is a part like any other: JAX
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

    def __call__(self, *arguments: Any) -> Any:
        is_whole = get_opaque_trace_state() == _OUTERMOST
        return (self.whole if is_whole else self.part)(*arguments)

    def lower(self, *arguments: Any) -> Any:
        """The program before it is compiled, as `jax.jit` gives it."""
        return self.whole.lower(*arguments)
