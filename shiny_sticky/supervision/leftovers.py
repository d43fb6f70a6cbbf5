"""What an earlier launcher, which was killed, has left running: found, drained, forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from shiny_sticky.handle import Handle
from shiny_sticky.leftover_programs import SESSION_SECONDS, end_session
from shiny_sticky.output import Output
from shiny_sticky.settings import names
from shiny_sticky.supervision.inbox import leave_message
from shiny_sticky.supervision.incarnation import MARGIN, STOP_SECONDS
from shiny_sticky.supervision.rundir import RunDir
from shiny_sticky.supervision.shared_folders import empty_shared_folders


class OrphanProcess:
    """A worker process or fork server of an earlier launcher.

    A fork server ends by itself with the last of its forks, so it need not be asked.

    Args:
        name: of the incarnation or fork server.
        process: it.
        run_dir: where its files are.
    """

    def __init__(self, name: str, process: Handle, run_dir: RunDir) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self.is_worker = names.INCARNATION.fullmatch(name) is not None
        self._run_dir = run_dir

    async def leave(self, drain_timeout: float) -> None:
        """Let it end with its last session.

        Args:
            drain_timeout: seconds. It was started with a time of its own for that, which nobody knows any more; if
                that is longer, its sessions are closed as at a stop.
        """
        ended = asyncio.create_task(self.wait())
        self.drain()
        for ask, seconds in ((self.terminate, drain_timeout + MARGIN), (self.kill, STOP_SECONDS + MARGIN)):
            if self.is_worker and not (await asyncio.wait({ended}, timeout=seconds))[0]:
                ask()
        await ended

    async def wait(self) -> None:
        """Wait for its end, and remove its files."""
        await self._process.wait()
        self._run_dir.remove(self.name)
        self._run_dir.remove_note(self.name)
        await end_session(self.pid, self._run_dir.owner.uid, SESSION_SECONDS)

    def tell(self, message: object) -> None:
        """Let a worker hear a message of worker/protocol.py within a second; on a full disk nothing happens."""
        if self.is_worker and not self._process.ended:
            with contextlib.suppress(OSError):
                leave_message(self._run_dir, self.name, message)

    def drain(self) -> None:
        """Ask a worker to end once its sessions have ended."""
        if self.is_worker:
            self._process.send(signal.SIGUSR2)

    def terminate(self) -> None:
        """Ask a worker to close its sessions, finish its requests and end."""
        self._process.send(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._process.send(signal.SIGKILL)


def find_orphans(run_dir: RunDir, output: Output) -> list[OrphanProcess]:
    """What runs on in a run_dir that the launcher has just locked; what dead processes left there is removed."""
    running = run_dir.running_processes(output.problem)
    if not running:
        empty_shared_folders(run_dir)
    return [OrphanProcess(name, process, run_dir) for name, process in running.items()]
