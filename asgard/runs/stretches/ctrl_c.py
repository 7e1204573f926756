"""Ctrl-C that waits."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C waits for the end of the block; a second one does not.

    A stretch writes its results over the arrays that it is given. Interrupted in between, a call
    would have neither.
    """
    usual = signal.getsignal(signal.SIGINT)
    # Python calls handlers in the main thread alone. None that it could call: nothing to wait for.
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield
        return
    told: list[tuple[Any, ...]] = []

    def wait(*interrupt: Any) -> None:
        told.append(interrupt)
        if len(told) > 1:
            usual(*interrupt)

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if told:
            usual(*told[0])
