"""Whether what is being lowered is a part of a kernel: some primitives have another form there."""

import contextlib
import contextvars
from collections.abc import Iterator

_in_kernel = contextvars.ContextVar("in_kernel", default=False)


@contextlib.contextmanager
def lowering_kernel() -> Iterator[None]:
    """A context in which all that is lowered is a part of a kernel."""
    token = _in_kernel.set(True)
    try:
        yield
    finally:
        _in_kernel.reset(token)


def in_kernel() -> bool:
    """Whether what is being lowered is a part of a kernel."""
    return _in_kernel.get()
