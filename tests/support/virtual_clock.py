"""An event loop whose clock jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine


class _JumpingSelector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jumping = _JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


def run(test: Coroutine) -> None:
    """Run a coroutine on such a loop."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(test)


def block(seconds: float) -> None:
    """Let time pass on such a loop in which it does nothing, as if something kept it."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _Loop)
    loop.jumping.now += seconds


async def heard() -> None:
    """Let what was put off to the loop's next step be done."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
