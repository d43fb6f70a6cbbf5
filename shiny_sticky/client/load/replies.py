"""What a visitor waits for, found by what it is: messages of a busy server come in any order, joined or apart."""

from __future__ import annotations

import asyncio

from shiny_sticky.client.load import messages


class Replies:
    """Matches what comes with what is waited for.

    Actions that nothing is waited for between belong together: what comes after the first of them may be the answer
    that is waited for after the last. What comes once only in a session may be there long before it is waited for.
    """

    def __init__(self) -> None:
        self._sent: list[float] = []
        self._waits = False
        self._pending: set[str] = set()
        self._early: dict[str, float] = {}
        self._slowest = 0.0
        self._done: asyncio.Future[None] | None = None

    def sent(self, at: float, expects: frozenset[str]) -> None:
        """Something was done.

        Args:
            at: when, by the clock that arrivals are told by.
            expects: what is waited for before the next thing is done.
        """
        if self._waits:
            self._sent = []
            self._early = {mark: seconds for mark, seconds in self._early.items() if messages.comes_once(mark)}
        self._sent.append(at)
        self._waits = bool(expects)
        self._pending = set(expects - self._early.keys())
        self._slowest = max((self._early[mark] for mark in expects & self._early.keys()), default=0.0)

    def came(self, marks: frozenset[str], at: float) -> None:
        """Something has come.

        Args:
            marks: what it is known by.
            at: when.
        """
        if not self._sent:
            return
        seconds = at - max((sent for sent in self._sent if sent <= at), default=self._sent[0])
        if marks & self._pending:
            self._slowest = max(self._slowest, seconds)
        for mark in marks - self._pending:
            self._early.setdefault(mark, seconds)
        self._pending -= marks
        if not self._pending and self._done is not None and not self._done.done():
            self._done.set_result(None)

    def fail(self, error: Exception) -> None:
        """Nothing more will come."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    async def all(self, patience: float) -> float:
        """Wait for all that is waited for.

        Args:
            patience: seconds.

        Returns:
            After how many seconds the last of it has come.

        Raises:
            TimeoutError: not all has come; see :attr:`missing`.
        """
        if self._pending:
            self._done = asyncio.get_running_loop().create_future()
            await asyncio.wait_for(self._done, patience)
        return max(0.0, self._slowest)

    @property
    def missing(self) -> list[str]:
        """What has not come yet."""
        return sorted(self._pending)
