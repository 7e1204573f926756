"""JAX's settings: the caller's for the caller's code, JAX's defaults for ours.

A caller may forbid implicit promotion, by `jax.numpy_dtype_promotion("strict")` or
`jax.numpy_rank_promotion("raise")`. Atoms and losses obey these settings. Asgard's own arithmetic
broadcasts and promotes on purpose, so it is traced under JAX's defaults. Both settings are scoped
to the thread, and JAX keys its compilations by them; no global configuration changes.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import jax

_config: Any = jax.config  # whose flags type checkers do not know
_DEFAULTS = ("standard", "allow")
_callers = ContextVar("_callers", default=_DEFAULTS)


@contextlib.contextmanager
def default_promotion() -> Iterator[None]:
    """Our own arithmetic: JAX's default promotion. Also a decorator: `@default_promotion()`."""
    present = _config.jax_numpy_dtype_promotion, _config.jax_numpy_rank_promotion
    if present == _DEFAULTS:  # also inside of another of these, which keeps the caller's settings
        yield
        return
    token = _callers.set(present)
    try:
        with _promotion(*_DEFAULTS):
            yield
    finally:
        _callers.reset(token)


@contextlib.contextmanager
def callers_promotion() -> Iterator[None]:
    """The caller's code, called from ours: the promotion that the caller has set."""
    callers = _callers.get()
    if callers == _DEFAULTS:
        yield
        return
    with _promotion(*callers):
        yield


@contextlib.contextmanager
def _promotion(dtypes: str, ranks: str) -> Iterator[None]:
    with jax.numpy_dtype_promotion(dtypes), jax.numpy_rank_promotion(ranks):
        yield


@contextlib.contextmanager
def nonfinite_allowed() -> Iterator[None]:
    """Our own code, where NaN and infinities are data: `jax_debug_nans` and `jax_debug_infs` off.

    A fit's `losses` are NaN past its last step. A loss that is not finite is a status.
    """
    with jax.debug_nans(False), jax.debug_infs(False):
        yield
