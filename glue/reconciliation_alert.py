"""Alerts on their way out: takes what is due from the database's outbox and sends it with Apprise.

Which channel is told what and when, and when a failed delivery is tried again, is decided in SQL
(docs/reconciliation.md). Any number of senders may run: what one has taken is leased to it, and is
due again when it does not say how it went. So each alert is delivered at least once.
"""

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import psycopg

from glue import db, logs
from glue.errors import TidemarkError
from glue.sessions import Connection, beats, keep_up
from glue.stop import Stop

BEAT = 0.5
"""Seconds from one look at the outbox to the next."""
MOST = 16
"""Deliveries that are under way at once."""
PATIENCE = 40.0
"""Seconds after which a delivery that has not ended has failed: less than the lease."""
LEASE = "1 minute"
LAST_WORDS = 5.0
"""Seconds that deliveries under way have when the sender stops."""
ERROR_LENGTH = 500
"""Characters kept of why a delivery failed."""

log = logs.get("alerts")


class MissingSecretError(TidemarkError):
    """A channel's target names a variable that the environment does not have."""


class Delivery(NamedTuple):
    """A row of api.take_alerts: what is to be told on a channel."""

    delivery_id: int
    channel: str
    target: str
    """Apprise's address of the channel; `${NAME}` in it stands for a variable's value."""
    occasion: str
    """raised, escalated or resolved."""
    body: dict[str, Any]
    """The alert, as the page reads it."""


class Secrets:
    """What `${NAME}` stands for: variables of the environment, so that no database holds them."""

    _NAMES = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    def filled_in(self, target: str) -> str:
        """The target with its secrets; raises MissingSecretError."""

        def value(name: re.Match[str]) -> str:
            try:
                return self._environment[name[1]]
            except KeyError:
                raise MissingSecretError(
                    f"the environment of the sender has no variable {name[1]}",
                    "Set it for tidemark reconcile and tidemark watch.",
                ) from None

        return self._NAMES.sub(value, target)

    def hidden(self, words: str, target: str) -> str:
        """Words in which no secret of the target stands any more."""
        for name in self._NAMES.findall(target):
            if secret := self._environment.get(name):
                words = words.replace(secret, f"${{{name}}}")
        return words


class AlertSender:
    """Sends what is due, in a thread with a connection of its own, while the context lasts.

    `role` and `process` are those of the process that it is part of.
    """

    def __init__(self, dsn: str, *, role: str, process: str) -> None:
        self._dsn = dsn
        self._role = role
        self._process = process
        self._stop = Stop()
        self._sendings: list[Sending] = []
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Stop; what has not ended in time is due again when its lease has run out."""
        self._stop.set()
        self._thread.join(timeout=2 * LAST_WORDS)

    def _run(self) -> None:
        keep_up(self._connect, self._serve, self._stop, log)

    def _connect(self) -> Connection:
        return db.connect(self._dsn, role=self._role, process=self._process)

    def _serve(self, connection: Connection) -> None:
        for _ in beats(BEAT, self._stop):
            self._report_ended(connection)
            self._start(connection)
        until = time.monotonic() + LAST_WORDS
        for sending in self._sendings:
            sending.thread.join(max(0.0, until - time.monotonic()))
        self._report_ended(connection)

    def _start(self, connection: Connection) -> None:
        room = MOST - len(self._sendings)
        if room > 0:
            self._sendings += [Sending(delivery) for delivery in take(connection, room)]

    def _report_ended(self, connection: Connection) -> None:
        # what could not be reported for want of a connection stays, for the next one
        for sending in [sending for sending in self._sendings if sending.has_ended]:
            report(connection, sending)
            self._sendings.remove(sending)


def send_due(connection: Connection) -> None:
    """Send what is due now, and wait for it."""
    while sendings := [Sending(delivery) for delivery in take(connection, MOST)]:
        for sending in sendings:
            sending.thread.join(max(0.0, sending.until - time.monotonic()))
            report(connection, sending)


def take(connection: Connection, limit: int) -> list[Delivery]:
    """Deliveries that are due, leased to us."""
    rows = connection.execute(
        "select delivery_id, channel, target, occasion, body from api.take_alerts(%s, %s)",
        [limit, LEASE],
    )
    return [Delivery(*row) for row in rows]


def report(connection: Connection, sending: "Sending") -> None:
    """Tell the database how a delivery went."""
    delivery, error = sending.delivery, sending.error
    try:
        connection.execute(
            "select from api.report_alert_delivery(%s, %s, %s)",
            [delivery.delivery_id, error is None, error],
        )
    except psycopg.Error as refused:
        if not (refused.sqlstate or "").startswith("TM"):
            raise
        log.warning("a delivery is not known any more", reason=str(refused).strip())
        return
    told = log.bind(channel=delivery.channel, occasion=delivery.occasion)
    title = str(delivery.body.get("title"))
    if error is None:
        told.info("alert delivered", title=title)
    else:
        told.warning("alert not delivered", title=title, reason=error)


class Sending:
    """A delivery under way, in a thread of its own: some channels never answer."""

    def __init__(self, delivery: Delivery, secrets: Secrets | None = None) -> None:
        self.delivery = delivery
        self.until = time.monotonic() + PATIENCE
        self._secrets = secrets or Secrets()
        self._error: str | None = f"no end within {PATIENCE:g} s"
        self.thread = threading.Thread(target=self._send, name="alert", daemon=True)
        self.thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether it went out or failed; one that takes too long has failed."""
        return not self.thread.is_alive() or time.monotonic() > self.until

    @property
    def error(self) -> str | None:
        """Why it failed, without secrets; None for one that went out."""
        return self._error

    def _send(self) -> None:
        target = self.delivery.target
        try:
            error = notify(self._secrets.filled_in(target), self.delivery)
        except TidemarkError as failure:
            error = f"{failure.message}. {failure.remedy}"
        except Exception as failure:  # a plugin's defect is a failed delivery, like any other
            error = f"{type(failure).__name__}: {failure}"
        self._error = error and self._secrets.hidden(error, target)[:ERROR_LENGTH]


def notify(url: str, delivery: Delivery) -> str | None:
    """Send it to Apprise's address; why that failed, None where it did not."""
    try:
        import apprise  # noqa: PLC0415  an extra, and slow to load
    except ImportError:
        return "Apprise is not installed: pip install 'tidemark[alerts]'"
    # its own thread pool is left out: its threads would wait for each other, and outlive us
    channel = apprise.Apprise.instantiate(url)
    if channel is None:
        return "the target is not an address that Apprise knows"
    title, text = words(delivery)
    with heard("apprise") as said:
        is_sent = channel.notify(
            title=title, body=text, notify_type=apprise.NotifyType(tone(delivery))
        )
    return None if is_sent else " ".join(said) or "the channel did not take it"


def words(delivery: Delivery) -> tuple[str, str]:
    """Title and text of the message."""
    alert = delivery.body
    if alert["kind"] == "test":
        return str(alert["title"]), str(alert["message"])
    begin = {"resolved": "Resolved", "escalated": "Still open"}.get(
        delivery.occasion, str(alert["severity"]).capitalize()
    )
    end = alert["resolved_at"] if delivery.occasion == "resolved" else None
    times = f"since {alert['raised_at']}" if end is None else f"{alert['raised_at']} to {end}"
    return f"{begin}: {alert['title']}", f"{alert['message']}\n{times} (alert {alert['alert_id']})"


def tone(delivery: Delivery) -> str:
    """How Apprise marks the message: info, success, warning or failure."""
    if delivery.occasion == "resolved":
        return "success"
    if delivery.body["kind"] == "test":
        return "info"
    severity = str(delivery.body["severity"])
    return {"info": "info", "warning": "warning"}.get(severity, "failure")


@contextlib.contextmanager
def heard(logger: str) -> Iterator[list[str]]:
    """What this thread logs as a warning or worse while the context lasts."""
    said: list[str] = []
    here = threading.get_ident()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == here:
                said.append(record.getMessage())

    ear = Ear(logging.WARNING)
    source = logging.getLogger(logger)
    source.propagate = False  # said in our own log, by whoever asked
    source.addHandler(ear)
    try:
        yield said
    finally:
        source.removeHandler(ear)
