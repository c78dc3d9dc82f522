"""Watch: what must be looked at as time passes, once a second: margins, curves, reconciliation.

It sends alerts, too: that reconciliation has stopped is not for the reconciler to tell.
"""

from glue import db, logs, service
from glue.curve import CurveKeeper
from glue.reconciliation_alert import AlertSender
from glue.sessions import Connection, beats, keep_up
from glue.stop import Stop

ROLE = "tidemark_watch"
PROCESS = "tidemark watch"
BEAT = 1.0
"""Seconds from one judgement to the next."""
RETENTION = 3600
"""Beats from one look for old answers of brokers to the next."""

log = logs.get("watch")


def main(dsn: str) -> None:
    """Judge margins and keep curves on a fixed beat until told to stop.

    Raises ServerError when the database cannot be reached at the start; later it tries again.
    """
    stop = Stop()
    service.stop_on_signals(stop.set)
    connect(dsn).close()
    with (
        CurveKeeper(dsn, role=ROLE, process=f"{PROCESS} curve", maintains=True),
        AlertSender(dsn, role=ROLE, process=f"{PROCESS} alerts"),
    ):
        keep_up(lambda: connect(dsn), lambda connection: judge(connection, stop), stop, log)
    log.info("stopped")


def connect(dsn: str) -> Connection:
    """A connection in the role of this process."""
    return db.connect(dsn, role=ROLE, process=PROCESS)


def judge(connection: Connection, stop: Stop) -> None:
    """Judge until told to stop, and log what changes."""
    for beat, _ in enumerate(beats(BEAT, stop)):
        judge_margins(connection)
        judge_reconciliation(connection)
        if beat % RETENTION == 0:
            connection.execute("select api.drop_old_reconciliations()")


def judge_margins(connection: Connection) -> None:
    """Log each account whose margin state changes."""
    for account_id, before, now, margin_equity, margin_used in connection.execute(
        "select account_id, previous_state, margin_state, margin_equity, margin_used"
        " from api.judge_margins()"
    ):
        (log.info if now == "ok" else log.warning)(
            "margin state changed",
            account_id=account_id,
            before=before,
            now=now,
            margin_equity=str(margin_equity),
            margin_used=str(margin_used),
        )


def judge_reconciliation(connection: Connection) -> None:
    """Have alerts raised, escalated and ended that nothing but time brings; log each."""
    for alert_id, status, title, message in connection.execute(
        "select alert_id, status, title, message from api.judge_reconciliation()"
    ):
        (log.info if status == "resolved" else log.warning)(
            f"alert {status}", alert_id=alert_id, title=title, message=message
        )
