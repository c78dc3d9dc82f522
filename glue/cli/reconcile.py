"""`tidemark reconcile`."""

import sys
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click
import msgspec

from glue.cli.parsed import ADDRESS
from glue.cli.tables import echo_table, shown
from glue.settings import Address, Settings

if TYPE_CHECKING:
    from glue.reconcile import Outcome

FAILED = 1
DISCREPANCIES = 3
NO_ANSWER = 4


@click.command()
@click.option("--once", is_flag=True, help="One comparison, then end: for cron.")
@click.option("--dry-run", is_flag=True, help="One comparison that records and books nothing.")
@click.option(
    "--account",
    "accounts",
    type=int,
    metavar="ID",
    multiple=True,
    help="With --once or --dry-run: this account only; repeatable.",
)
@click.option(
    "--history",
    is_flag=True,
    help="With --once: an account that is compared for the first time is compared with all that"
    " its broker ever booked; else what was booked before counts in its totals.",
)
@click.option("--json", "as_json", is_flag=True, help="With --once or --dry-run: print JSON.")
@click.option(
    "--metrics-listen", type=ADDRESS, help="Serve figures for Prometheus here, at /metrics."
)
@click.pass_obj
def reconcile(
    settings: Settings,
    once: bool,
    dry_run: bool,
    accounts: tuple[int, ...],
    history: bool,
    as_json: bool,
    metrics_listen: Address | None,
) -> None:
    """Compare every account with its broker, every 30 seconds, until stopped.

    What differs is recorded by cause (api.discrepancies), shown on the page and told on the
    channels of `tidemark alerts`. Several may run: one compares, and another takes over within 60
    seconds when it is gone. While the database or a broker is away it waits. TIDEMARK_OANDA_TOKEN
    or TIDEMARK_OANDA_TOKEN_FILE, and TIDEMARK_OANDA, open the accounts of OANDA;
    TIDEMARK_RECONCILE_BEAT sets another beat, in seconds. Stops on Ctrl-C and SIGTERM.

    Exit codes of --once and --dry-run: 0 all agree, 1 failed, 2 wrong usage, 3 discrepancies are
    open, 4 a broker did not answer, or not with what can be used.
    """
    from glue import db
    from glue import reconcile as process

    is_single = once or dry_run
    if not is_single and (accounts or history or as_json):
        raise click.UsageError("--account, --history and --json go with --once or --dry-run.")
    if is_single and metrics_listen is not None:
        raise click.UsageError("--metrics-listen is for the service.")
    if not is_single:
        process.main(settings, db.dsn_of(settings), metrics_listen)
        return
    outcomes = process.once(
        settings, db.dsn_of(settings), accounts, with_history=history, is_dry=dry_run
    )
    _print_json(outcomes) if as_json else _print_table(outcomes)
    sys.exit(_exit_code(outcomes))


def _exit_code(outcomes: Sequence["Outcome"]) -> int:
    """What is worst: that we failed, then that a broker said nothing, then that something differs.

    Who sees the first must not take what is not known for agreement.
    """
    failed = [outcome.run for outcome in outcomes if outcome.run.outcome == "failed"]
    if any(run.is_our_failure for run in failed):
        return FAILED
    if failed:
        return NO_ANSWER
    return DISCREPANCIES if any(outcome.status.discrepancies for outcome in outcomes) else 0


def _print_table(outcomes: Sequence["Outcome"]) -> None:
    if not outcomes:
        click.echo("There is nothing to compare: no open account has a broker account.")
        return
    rows = [row for outcome in outcomes for row in _rows(outcome)]
    echo_table(
        ("ID", "NAME", "", "BALANCE", "BROKER'S", "DIFFERENCE", "WHAT", "CAUSE", "SINCE"),
        rows,
        right=(0, 3, 4, 5),
    )
    for outcome in outcomes:
        name = f"{outcome.status.name} ({outcome.run.account_id})"
        if outcome.run.outcome == "failed":
            click.echo(f"\n{name}: {outcome.run.reason}", err=True)
        for discrepancy in outcome.status.discrepancies:
            click.echo(f"\n{name}, {discrepancy.severity}: {discrepancy.message}")


def _rows(outcome: "Outcome") -> list[tuple[str, ...]]:
    status = outcome.status
    account = (
        str(status.account_id),
        status.name,
        status.currency,
        _amount(status.balance),
        _amount(status.broker_balance),
    )
    rows = [
        (
            _difference(discrepancy.difference, discrepancy.unit),
            " ".join(filter(None, (discrepancy.field, discrepancy.symbol))).replace("_", " "),
            discrepancy.cause.replace("_", " "),
            shown(discrepancy.opened_at),
        )
        for discrepancy in status.discrepancies
    ]
    if outcome.run.outcome == "failed":
        rows.insert(0, ("", "", "no answer", _since(status.failing_since)))
    elif not rows:
        rows = [("", "", "agrees", _since(status.consistent_since))]
    return [
        (*(account if number == 0 else ("",) * len(account)), *row)
        for number, row in enumerate(rows)
    ]


def _amount(amount: Decimal | None) -> str:
    return "—" if amount is None else f"{amount:,f}"


def _difference(amount: Decimal | None, unit: str) -> str:
    return "" if amount is None else f"{amount:+,f} {unit}"


def _since(instant: datetime | None) -> str:
    return "" if instant is None else shown(instant)


def _print_json(outcomes: Sequence["Outcome"]) -> None:
    """An array with an object an account; amounts are decimal strings."""
    click.echo(
        msgspec.json.encode(
            [
                {
                    **_plain(outcome.status._asdict()),
                    "outcome": outcome.run.outcome,
                    "error_code": outcome.run.error_code,
                    "reason": outcome.run.reason,
                    "discrepancies": [
                        _plain(discrepancy._asdict())
                        for discrepancy in outcome.status.discrepancies
                    ],
                }
                for outcome in outcomes
            ]
        ).decode()
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: f"{value:f}" if isinstance(value, Decimal) else value
        for name, value in values.items()
    }
