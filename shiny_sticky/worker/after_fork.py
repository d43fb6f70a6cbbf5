"""What a fork must not share with its parent and all other forks: names, output, signals, exit handlers, chance."""

from __future__ import annotations

import atexit
import logging
import os
import random
import signal
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

# What a signal does: a function, or one of signal.SIG_DFL and SIG_IGN; None is something that Python cannot set.
Handlers = dict[signal.Signals, Any]


def take_name(name: str) -> None:
    """Let top and ps show a name for this process, where that is possible; they have room for 15 characters."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name[:15])


def own_output(output: int, errors: int) -> None:
    """Write standard output and standard error to two descriptors; these are closed."""
    for descriptor, number in ((output, 1), (errors, 2)):
        os.dup2(descriptor, number)
        os.close(descriptor)


def own_signals(handlers: Handlers) -> None:
    """Put signals back to what they did before the parent took them."""
    signal.set_wakeup_fd(-1)
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def own_exit_handlers() -> None:
    """Drop the atexit handlers of the import: only the fork server runs them, once (removing a folder, say).

    Handlers that a fork registers itself still run at its end.
    """
    registered = weakref.finalize._registered_with_atexit  # type: ignore[attr-defined]
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False
    atexit._clear()
    # They are run in the opposite order.
    atexit.register(logging.shutdown)
    if "multiprocessing.util" in sys.modules:
        from multiprocessing import process, util

        # As multiprocessing does in its own forks: the processes that the parent started are not ours to end.
        process._children = set()  # type: ignore[attr-defined]
        util._finalizer_registry.clear()  # type: ignore[attr-defined]
        atexit.register(util._exit_function)  # type: ignore[attr-defined]
    if registered:
        atexit.register(weakref.finalize._exitfunc)  # type: ignore[attr-defined]


def own_random_state() -> None:
    """Seed the global generators of random numbers anew; `secrets` and `uuid` ask the system each time."""
    random.seed()
    modules = sys.modules
    # A module may be there in part only; its generator is of no use then.
    with suppress(Exception):
        if "shiny._utils" in modules:  # ids of what has none in a page
            modules["shiny._utils"].own_random_state = random.Random().getstate()  # type: ignore[attr-defined]
    with suppress(Exception):
        if "numpy.random" in modules:
            modules["numpy.random"].seed()
    with suppress(Exception):
        if "torch" in modules:
            modules["torch"].seed()
