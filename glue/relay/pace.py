"""How much of the prices one client is sent: no more than it can take, however much moves.

A page that watches a thousand accounts would be sent all of them twenty times a second, and a trade
would stand behind megabytes in the line's buffers. So updates have a rate, which trades do not
count against, and what could not be sent is not read either.
"""

from collections.abc import Sequence

BYTES_A_SECOND = 2_000_000
"""Of updates, to one client: ten accounts with fifty positions each, ten times a second."""
BURST = 250_000
"""Bytes that may be sent at once after a pause."""
ACCOUNTS = 100
"""Accounts that are read for one client at a time: their updates are sent before the next ones."""


class Pace:
    """When the next update may be sent."""

    def __init__(self) -> None:
        self.free_at = 0.0
        """By the loop's clock."""

    def count(self, size: int, now: float) -> None:
        """So many bytes were sent."""
        self.free_at = max(self.free_at, now - BURST / BYTES_A_SECOND) + size / BYTES_A_SECOND


class Round:
    """Which of a client's accounts are read next, so that each has its turn.

    A round that begins at an instant is complete when every account has been read after it.
    """

    def __init__(self) -> None:
        self.interval = 0.0
        """Seconds from one round to the next. Those of one interval begin together."""
        self.completed_at: str | None = None
        """When the last complete round began: nothing from before it is missing."""
        self._began_at = ""
        self._free_at = 0.0
        self._next = 0
        self._left = 0
        self._is_asked = False

    def __bool__(self) -> bool:
        """Whether accounts are left to be read, now or when the interval is over."""
        return self._left > 0 or self._is_asked

    def ask(self) -> None:
        """Something has moved: read all accounts, after the present round if need be."""
        self._is_asked = True

    def turn(self, account_ids: Sequence[int], at: str, now: float) -> Sequence[int]:
        """The accounts whose turn it is; `at` is now, and `now` the loop's clock."""
        if self._left == 0 and self._is_asked and self._free_at <= now:
            self._begin(len(account_ids), at, now)
        if self._next >= len(account_ids):
            self._next = 0
        return account_ids[self._next : self._next + min(ACCOUNTS, self._left)]

    def end_turn(self, read: int) -> None:
        """So many accounts have been read; after each turn, also of none."""
        self._next += read
        self._left = max(0, self._left - read) if read > 0 else 0
        if self._left == 0:
            self.completed_at = self._began_at

    def _begin(self, count: int, at: str, now: float) -> None:
        self._left, self._began_at, self._is_asked = count, at, False
        if self.interval > 0:
            early = self.interval / 4  # the reads that it falls between do not come to the dot
            turns = (now + early) // self.interval
            self._free_at = (turns + 1) * self.interval - early
