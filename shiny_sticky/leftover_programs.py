"""The programs that a process has left running: found by its session, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import psutil

from shiny_sticky.handle import Handle

# Seconds that they get to end.
SESSION_SECONDS = 2


async def end_session(leader: int, uid: int, grace: float) -> None:
    """End the programs that a process has left running: those in its session, which setsid(2) detaches from.

    Args:
        leader: a process that has ended, and that led a session: its number is the session's, and is not given to
            another process as long as the session has members.
        uid: the user that it ran as. What has become another user's since, by sudo for one, is left alone.
        grace: seconds between SIGTERM and SIGKILL.
    """
    members = session_members(leader, uid)
    for member in members:
        member.send(signal.SIGTERM)
    if members:
        _, lasting = await asyncio.wait([asyncio.create_task(member.wait()) for member in members], timeout=grace)
        for task in lasting:
            task.cancel()
        for member in session_members(leader, uid):
            member.send(signal.SIGKILL)


def session_members(leader: int, uid: int) -> list[Handle]:
    """A user's processes in a session whose leader has ended; none if another process has its number by now."""
    with contextlib.suppress(psutil.Error):
        if psutil.Process(leader).status() != psutil.STATUS_ZOMBIE:
            return []
    members = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == leader:
                member = Handle(pid)
                # Once more, now that the number cannot come to mean another process.
                if os.getsid(pid) == leader and member.belongs_to(uid):
                    members.append(member)
    return members
