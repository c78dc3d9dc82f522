"""What a connection, a token and an address may take up, so that nobody crowds out the others."""

import ipaddress
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from glue.relay.refusal import Refusal

MESSAGES_A_CONNECTION = (20.0, 60.0)
"""Messages a second on average, and at once."""
MESSAGES_AN_ADDRESS = (200.0, 2000.0)
"""The same for all connections of an address, and for all of a token."""
BYTES_A_CONNECTION = (64 * 1024.0, 512 * 1024.0)
"""Bytes that come in, of whatever kind: answers to pings wait in memory."""
MAX_KEYS = 10_000
"""Addresses (and tokens) that are remembered. Overflow: those that were quiet are forgotten."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Connections that are served at the same time."""

    clients: int
    clients_per_token: int
    clients_per_address: int


class Bucket:
    """Holds so many, is refilled at so many a second, and says when it is empty."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate_and_burst: tuple[float, float], now: float) -> None:
        self._rate, self._burst = rate_and_burst
        self._left, self._at = self._burst, now

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take so much out; False, and nothing is taken, when there is less."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < amount:
            return False
        self._left -= amount
        return True

    def is_full(self, now: float) -> bool:
        """Whether it is as good as new."""
        return self._left + (now - self._at) * self._rate >= self._burst


class Buckets:
    """A bucket for each key, made when it is first asked for."""

    def __init__(self, rate_and_burst: tuple[float, float]) -> None:
        self._rate_and_burst = rate_and_burst
        self._by_key: dict[Hashable, Bucket] = {}

    def take(self, key: Hashable, now: float) -> bool:
        """Take one out of the key's bucket."""
        if key not in self._by_key:
            if len(self._by_key) >= MAX_KEYS:
                busy = {k: b for k, b in self._by_key.items() if not b.is_full(now)}
                self._by_key = busy if len(busy) < MAX_KEYS else {}
            self._by_key[key] = Bucket(self._rate_and_burst, now)
        return self._by_key[key].take(now)


class Gate:
    """Counts who is in and how much they say; Refusal for whoever is too many or says too much."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._clients = 0
        self._by_address: Counter[str] = Counter()
        self._by_token: Counter[int] = Counter()
        self._of_addresses = Buckets(MESSAGES_AN_ADDRESS)
        self._of_tokens = Buckets(MESSAGES_AN_ADDRESS)

    @contextmanager
    def admit(self, address: str) -> Iterator[None]:
        """Let a client of an address in for the length of a block."""
        if self._clients >= self.limits.clients:
            raise Refusal.too_many_clients("The relay", "--max-clients")
        if self._by_address[address] >= self.limits.clients_per_address:
            raise Refusal.too_many_clients("The client's address", "--max-clients-per-address")
        self._clients += 1
        self._by_address[address] += 1
        try:
            yield
        finally:
            self._clients -= 1
            count_down(self._by_address, address)

    def admit_token(self, token_id: int) -> None:
        """Count one more client with a token, until `release_token`."""
        if self._by_token[token_id] >= self.limits.clients_per_token:
            raise Refusal.too_many_clients("The token", "--max-clients-per-token")
        self._by_token[token_id] += 1

    def release_token(self, token_id: int) -> None:
        """One of a token's clients has gone."""
        count_down(self._by_token, token_id)

    def count_message(
        self, connection: Bucket, address: str, token_id: int | None, now: float
    ) -> None:
        """A message has come."""
        if not connection.take(now):
            raise Refusal.rate_limited("The connection")
        if not self._of_addresses.take(address, now):
            raise Refusal.rate_limited("The client's address")
        if token_id is not None and not self._of_tokens.take(token_id, now):
            raise Refusal.rate_limited("The token")


def key_of(address: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits, which one machine may own."""
    parsed = ipaddress.ip_address(address)
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def count_down(counter: Counter[Any], key: Hashable) -> None:
    """One less of a key, which is forgotten with its last."""
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
