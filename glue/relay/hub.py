"""The hub: reads what changes, once for all clients, and hands it to those who watch."""

import asyncio
import time
from collections.abc import Iterable, Sequence

from glue import logs
from glue.relay.database import Backoff, Change, Database, Mark, UnavailableError
from glue.relay.frames import broker_frame, frames, hash_of, now, snapshot_holds
from glue.relay.limits import Gate
from glue.relay.metrics import Metrics
from glue.relay.refusal import Refusal
from glue.relay.session import Session
from glue.wire import MAX_UPDATES_A_SECOND, Acknowledge, CurveRequest

PRICE_INTERVAL = 1 / MAX_UPDATES_A_SECOND
"""Seconds from one read of all that is watched to the next at least, and some of it free."""
CHUNK = 250
"""Accounts that are read together."""
SENT_TOGETHER = 50
"""Changes that are sent before what has come meanwhile is looked at: a trade must not wait long."""
READERS = 2
"""Reads at the same time, for prices and for accounts that were named each."""
TOTALS_INTERVAL = 0.25
"""Seconds from one read of all totals to the next at least.

Two thirds of the time are free, but no more than POLL_INTERVAL in one piece: a database that hung
for long would not be asked for as long again.
"""
BROKER_INTERVAL = 2.0
"""Seconds from one look at what brokers said to the next; they are asked every 30."""
POLL_INTERVAL = 1.0
"""Seconds after which all that is watched is read although no notification came."""
TOKEN_INTERVAL = 0.5
"""Seconds from one check of all tokens to the next; a notification brings it forward."""
JOIN_TIMEOUT = 8.0
"""Seconds that a client waits to be let in: a page takes a longer silence for a dead line."""
ADMITTED_TOGETHER = 2
"""Clients whose tokens are looked up at the same time."""
STALE_AFTER = 5.0
"""Seconds without an answer after which the database counts as lost."""

_now = time.monotonic  # the clock of asyncio, too
log = logs.get("relay")


class Totals:
    """The totals of some accounts in one currency, and who is sent them."""

    def __init__(self, account_ids: list[int], currency: str) -> None:
        self.account_ids = account_ids
        self.currency = currency
        self.sessions: set[Session] = set()
        self.text: str | None = None
        """What was sent last to all of them."""
        self.data_at: str | None = None


class Hub:
    """Who watches what, how much of it the relay has sent out, and the tasks that read on."""

    def __init__(self, database: Database, gate: Gate, metrics: Metrics) -> None:
        self._database = database
        database.on_new_timeline = self._start_all_anew
        self._gate = gate
        self._metrics = metrics
        metrics.outbox_bytes.set_function(
            lambda: sum(session.outbox.byte_count for session in self._sessions)
        )
        self._sessions: set[Session] = set()
        self._watchers: dict[int, set[Session]] = {}
        self._payloads: dict[str, int] = {}
        """Each watched account by the text that a notification names it with."""
        self._held: dict[int, Mark] = {}
        """What was sent out of each watched account, from its first snapshot on."""
        self._broker_hashes: dict[int, str] = {}
        """What was sent out of each watched account's broker, from the first snapshot on."""
        self._totals: dict[tuple[tuple[int, ...], str], Totals] = {}
        self._totals_of: dict[Session, Totals] = {}
        self._changed: set[int] = set()
        """Accounts that a notification named and that have not been read since."""
        self._account_hint = asyncio.Event()
        self._price_hint = asyncio.Event()
        self._totals_hint = asyncio.Event()
        self._token_hint = asyncio.Event()
        self._admitting = asyncio.Semaphore(ADMITTED_TOGETHER)
        self._is_listening = False
        self._has_answered = False
        self._answered_at = 0.0

    @property
    def is_listening(self) -> bool:
        """Whether notifications are heard."""
        return self._is_listening

    @property
    def database_ok(self) -> bool:
        """Whether the database answers the hub's reads."""
        return self._has_answered_within(STALE_AFTER)

    def _has_answered_within(self, seconds: float) -> bool:
        return self._has_answered and _now() - self._answered_at < seconds

    def __len__(self) -> int:
        return len(self._sessions)

    async def run(self) -> None:
        """Listen first, then read, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._database.listen(self._hear, self._report_listening))
            tasks.create_task(self._read_changed_accounts())
            tasks.create_task(self._read_all())
            tasks.create_task(self._read_totals())
            tasks.create_task(self._read_brokers())
            tasks.create_task(self._check_tokens())
            tasks.create_task(self._database.prepare())

    # Clients ---------------------------------------------------------------------------------

    async def join(self, session: Session) -> None:
        """Let a session in, if its token opens what it asks for; Refusal otherwise."""
        try:
            async with asyncio.timeout(JOIN_TIMEOUT), self._admitting:
                opened = await self._database.open_sessions({session.token: None})
        except (UnavailableError, TimeoutError) as error:
            raise Refusal.unavailable() from error
        if session.token not in opened:
            raise Refusal.bad_token()
        token = opened[session.token]
        session.allow(token)
        session.may_acknowledge = token.may_acknowledge
        session.chosen = session.choose()
        self._gate.admit_token(token.token_id)
        session.token_id = token.token_id
        self._sessions.add(session)
        self._watch(session, session.account_ids)
        self._watch_totals(session)

    def leave(self, session: Session) -> None:
        """Forget a session, and the accounts that nobody else watches."""
        if session.token_id is None:
            return
        self._gate.release_token(session.token_id)
        self._sessions.discard(session)
        self._unwatch(session, session.account_ids)
        self._unwatch_totals(session)

    def change_totals(self, session: Session, currency: str | None) -> None:
        """Send a session its totals in another currency, or none."""
        self._unwatch_totals(session)
        session.currency = currency
        self._watch_totals(session)
        if session in self._totals_of:
            self._totals_of[session].text = None  # also where others have them already
            self._totals_hint.set()

    async def snapshot(self, session: Session) -> str:
        """All that a session watches, as a message; what changes from now on is in its outbox.

        Raises UnavailableError; the snapshot is then wanted still.
        """
        outbox = session.outbox
        async with self._database.joining:
            since = outbox.begin_snapshot()
            watched = set(session.account_ids)
            try:
                text = await self._database.snapshot(
                    session.account_ids,
                    {account: number for account, number in since.items() if account in watched},
                    session.chosen if session.currency is not None else [],
                    session.currency,
                )
            except UnavailableError:
                outbox.abandon_snapshot(since)
                raise
        holds = snapshot_holds(text)
        outbox.end_snapshot({account: held.mark for account, held in holds.items()}, len(text))
        for account_id, held in holds.items():
            if account_id in self._watchers:
                self._held.setdefault(account_id, held.mark)
                self._broker_hashes.setdefault(account_id, held.broker_hash)
        self._price_hint.set()  # hints about accounts that were not held yet went by
        if session in self._totals_of:
            self._totals_of[session].text = None  # may differ from those of the snapshot
            self._totals_hint.set()
        return text

    async def curve(self, request: CurveRequest) -> str:
        """The columns of a curve, as a JSON text; raises UnavailableError."""
        async with self._database.joining:
            return await self._database.curve(request)

    async def acknowledge(self, session: Session, request: Acknowledge) -> None:
        """Pass on what a client says; raises DeclinedError, or UnavailableError."""
        async with self._database.joining:
            await self._database.acknowledge(session.token, request)

    def data_at(self, session: Session) -> str | None:
        """Until when all that was committed and concerns a session was offered to it."""
        totals, data_at = self._totals_of.get(session), session.round.completed_at
        if totals is None:
            return data_at
        if data_at is None or totals.data_at is None:
            return None
        return min(data_at, totals.data_at)

    def event_seqs(self, account_ids: Iterable[int]) -> dict[str, int]:
        """The number of the last event sent out of each account, as far as it is known."""
        return {
            str(account_id): self._held[account_id].event_seq
            for account_id in account_ids
            if account_id in self._held
        }

    def _watch(self, session: Session, account_ids: Iterable[int]) -> None:
        for account_id in account_ids:
            self._watchers.setdefault(account_id, set()).add(session)
            self._payloads[str(account_id)] = account_id
        self._count()

    def _unwatch(self, session: Session, account_ids: Iterable[int]) -> None:
        for account_id in account_ids:
            watchers = self._watchers.get(account_id, set())
            watchers.discard(session)
            if not watchers:
                self._watchers.pop(account_id, None)
                self._held.pop(account_id, None)
                self._broker_hashes.pop(account_id, None)
                self._payloads.pop(str(account_id), None)
        self._count()

    def _watch_totals(self, session: Session) -> None:
        if session.currency is None:
            return
        key = tuple(session.chosen), session.currency
        totals = self._totals.setdefault(key, Totals(session.chosen, session.currency))
        totals.sessions.add(session)
        self._totals_of[session] = totals

    def _unwatch_totals(self, session: Session) -> None:
        totals = self._totals_of.pop(session, None)
        if totals is None:
            return
        totals.sessions.discard(session)
        if not totals.sessions:
            del self._totals[tuple(totals.account_ids), totals.currency]

    def _count(self) -> None:
        self._metrics.clients.set(len(self._sessions))
        self._metrics.accounts.set(len(self._watchers))

    # What changes ----------------------------------------------------------------------------

    def _hear(self, channel: str, payload: str) -> None:
        """Take a notification as a hint of what to read; anybody may have sent it."""
        if channel == "tidemark_tokens":
            self._token_hint.set()
            return
        self._totals_hint.set()
        if channel == "tidemark_prices":
            self._price_hint.set()
        elif payload in self._payloads:
            self._changed.add(self._payloads[payload])
            self._account_hint.set()

    async def _read_changed_accounts(self) -> None:
        """Read at once what a trade or an entry has changed."""
        while True:
            await self._account_hint.wait()
            self._account_hint.clear()
            named, self._changed = self._changed, set()
            try:
                await self._read("accounts", tuple(named))
            except UnavailableError:
                self._price_hint.set()  # the other task tries until it succeeds

    async def _read_all(self) -> None:
        """Read all that is watched when prices have moved, and every second in any case.

        Of a client that watches many accounts some at a time, as it can be sent them (pace.py).
        """
        backoff = Backoff()
        while True:
            if not any(session.round for session in self._sessions):
                await _wait(self._price_hint, POLL_INTERVAL)
                self._ask_for_rounds()
            elif self._price_hint.is_set():
                self._ask_for_rounds()
            began, began_at = _now(), now()
            turns = {
                session: session.round.turn(session.account_ids, began_at, began)
                for session in self._sessions
                if session.round and session.takes_updates
            }
            account_ids = dict.fromkeys(account for turn in turns.values() for account in turn)
            if account_ids or not self._has_answered_within(POLL_INTERVAL):
                try:
                    await self._read("prices", tuple(account_ids))
                except UnavailableError:
                    await asyncio.sleep(backoff.delay())
                    continue
                backoff.reset()
            for session, turn in turns.items():
                session.round.end_turn(len(turn))
            took = _now() - began
            await asyncio.sleep(max(PRICE_INTERVAL - took, took / 16))

    def _ask_for_rounds(self) -> None:
        self._price_hint.clear()
        for session in self._sessions:
            session.round.ask()

    async def _read(self, lane: str, account_ids: Sequence[int]) -> None:
        """Read these accounts, as far as they are held, and send out what is new.

        Some at a time, and while the database reads those, what changed in others is sent.
        """
        reading = asyncio.Semaphore(READERS)

        async def read_some(some: Sequence[int]) -> None:
            async with reading:
                held = {account: self._held[account] for account in some if account in self._held}
                with self._metrics.read_seconds.labels(lane).time():
                    changes = await self._database.changes(held)
            for number, change in enumerate(changes, 1):
                self._send_out(change, held[change.account_id])
                if number % SENT_TOGETHER == 0:
                    await asyncio.sleep(0)

        starts = range(0, max(1, len(account_ids)), CHUNK)
        results = await asyncio.gather(
            *(read_some(account_ids[start : start + CHUNK]) for start in starts),
            return_exceptions=True,
        )
        for problem in results:
            if isinstance(problem, UnavailableError):
                self._report_reading(False, str(problem))
            if problem is not None:
                raise problem
        self._report_reading(True)

    def _send_out(self, change: Change, asked_from: Mark) -> None:
        """Hand a change to those who watch the account, unless another read was quicker."""
        held = self._held.get(change.account_id)
        if held is None:
            return
        if change.version < asked_from.version or change.event_seq < asked_from.event_seq:
            self._start_anew(change)
            return
        if change.version <= held.version and change.event_seq <= held.event_seq:
            return
        self._held[change.account_id] = Mark(change.version, change.event_seq)
        watchers = self._watchers[change.account_id]
        for frame in frames(change, held):
            for session in watchers:
                session.deliver(frame)

    async def _read_totals(self) -> None:
        """Read the totals that somebody watches when something has moved, and every second."""
        while True:
            self._totals_hint.clear()
            began = _now()
            for totals in tuple(self._totals.values()):
                began_at = now()
                try:
                    text = await self._database.totals(totals.account_ids, totals.currency)
                except UnavailableError:
                    continue  # the other reads find out whether the database is lost
                totals.data_at = began_at
                if text == totals.text:
                    continue
                totals.text = text
                data = text.encode()
                for session in totals.sessions:
                    session.outbox.offer_single("totals", data)
            took = _now() - began
            await asyncio.sleep(max(TOTALS_INTERVAL - took, min(2 * took, POLL_INTERVAL)))
            await _wait(self._totals_hint, POLL_INTERVAL)

    async def _read_brokers(self) -> None:
        """Read now and then what brokers have said, some accounts at a time."""
        while True:
            await asyncio.sleep(BROKER_INTERVAL)
            held = tuple(self._broker_hashes)
            for start in range(0, len(held), CHUNK):
                some = held[start : start + CHUNK]
                hashes = {a: self._broker_hashes[a] for a in some if a in self._broker_hashes}
                try:
                    changes = await self._database.broker_changes(hashes)
                except UnavailableError:
                    break  # the other reads find out whether the database is lost
                for account_id, broker in changes:
                    if account_id not in self._broker_hashes:
                        continue
                    self._broker_hashes[account_id] = hash_of(broker.encode())
                    frame = broker_frame(account_id, broker)
                    for session in self._watchers[account_id]:
                        session.outbox.offer_broker(frame)

    def _start_anew(self, change: Change) -> None:
        """The database was set back, by a crash or a restore: what the pages hold is not true."""
        log.warning("the database was set back", account_id=change.account_id)
        self._held[change.account_id] = Mark(change.version, change.event_seq)
        for session in self._watchers[change.account_id]:
            session.refuse(Refusal.set_back())

    def _start_all_anew(self) -> None:
        """Commits may have been lost, and their numbers given again: nothing held is sure."""
        log.warning("the database has begun a new timeline: pages start anew")
        self._held.clear()
        self._broker_hashes.clear()
        for session in self._sessions:
            session.refuse(Refusal.set_back())

    # Tokens ----------------------------------------------------------------------------------

    async def _check_tokens(self) -> None:
        """Send away whose token was revoked or expired; give who may see all what is new."""
        while True:
            await _wait(self._token_hint, TOKEN_INTERVAL)
            self._token_hint.clear()
            sessions = tuple(self._sessions)
            if not sessions:
                continue
            try:
                opened = await self._database.open_sessions(_hashes_by_token(sessions))
            except UnavailableError:
                continue  # the reads find out whether it is lost
            for session in sessions:
                if session.token not in opened:
                    session.refuse(Refusal.bad_token())
                elif session in self._sessions and session.allow(opened[session.token]):
                    self._choose_again(session)

    def _choose_again(self, session: Session) -> None:
        """A token that opens all accounts opens also those that came later."""
        if session.wants is not None:
            return
        try:
            chosen = session.choose()
        except Refusal as refusal:
            session.refuse(refusal)
            return
        self._unwatch_totals(session)
        before, session.chosen = session.account_ids, chosen
        self._watch(session, session.account_ids)
        self._unwatch(session, set(before) - set(session.account_ids))
        self._watch_totals(session)
        session.outbox.want_snapshot("accounts")

    # State of the database -------------------------------------------------------------------

    def _report_listening(self, is_listening: bool, reason: str) -> None:
        if is_listening and not self._is_listening:
            log.info("listening")
        elif self._is_listening and not is_listening:
            log.warning("notifications lost, polling", reason=reason)
        self._is_listening = is_listening
        self._metrics.listener_up.set(is_listening)
        # Whatever happened in between went unheard.
        self._price_hint.set()
        self._token_hint.set()

    def _report_reading(self, has_answered: bool, reason: str = "") -> None:
        if has_answered:
            self._answered_at = _now()
        if has_answered == self._has_answered:
            return
        self._has_answered = has_answered
        self._metrics.database_up.set(has_answered)
        if has_answered:
            log.info("the database answers")
        else:
            log.warning("database lost, trying again", reason=reason)
        for session in self._sessions:
            session.outbox.want_heartbeat()


def _hashes_by_token(sessions: Iterable[Session]) -> dict[str, int | None]:
    """By token, the hash of the accounts that it opens, where all its sessions know the same."""
    hashes: dict[str, int | None] = {}
    for session in sessions:
        if hashes.setdefault(session.token, session.allowed_hash) != session.allowed_hash:
            hashes[session.token] = None
    return hashes


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, so long at most."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
