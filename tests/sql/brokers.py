"""A broker made by hand: what it would answer, built up booking by booking."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from psycopg.types.json import Jsonb

from tests.factories import Connection, Row, every, one

Answer = dict[str, Any]


def now() -> datetime:
    return datetime.now(UTC)


def account_at_broker(
    conn: Connection,
    currency: str = "USD",
    mode: str = "netting",
    scale: int = 2,
    broker_account_id: str = "A-1",
) -> int:
    """Open an account that has a broker account; its id."""
    account_id: int = one(
        conn,
        "select account_id from api.open_account('At broker', %s, %s, 'sim', %s, "
        "p_money_scale => %s)",
        [currency, mode, broker_account_id, scale],
    )["account_id"]
    return account_id


class HandBroker:
    """A broker whose figures are set by hand; by default an honest copy of what it was told.

    It books what the ledger books, as the ledger does, and values positions by the ledger's own
    figures, unless a test spoils `spoil(snapshot)` or tells the two sides different things.
    """

    def __init__(self, conn: Connection, account_id: int, currency: str = "USD") -> None:
        self.conn = conn
        self.account_id = account_id
        self.currency = currency
        self.transactions: list[Answer] = []
        self.asked_to: str | None = None

    # What it books ---------------------------------------------------------------------------

    def book(self, **transaction: Any) -> str:
        """Book a transaction here; its id."""
        transaction_id = str(len(self.transactions) + 1)
        self.transactions.append(
            {"transaction_id": transaction_id, "at": now().isoformat(), **transaction}
        )
        return transaction_id

    def fill(self, symbol: str, side: str, quantity: str, price: str, **more: Any) -> str:
        """Book a trade here only."""
        return self.book(
            kind="fill", symbol=symbol, side=side, quantity=quantity, price=price, **more
        )

    def entry(self, entry_kind: str, amount: str, **more: Any) -> str:
        """Book a cash movement here only."""
        return self.book(kind="entry", entry_kind=entry_kind, amount=amount, **more)

    # What it answers -------------------------------------------------------------------------

    def snapshot(self) -> Answer:
        """What the ledger says, as this broker would say it: a faithful copy."""
        state = one(
            self.conn, "select * from api.account_states where account_id = %s", [self.account_id]
        )
        positions = every(
            self.conn, "select * from api.positions where account_id = %s", [self.account_id]
        )
        return {
            "transaction_id": str(len(self.transactions)),
            "taken_at": now().isoformat(),
            "currency": self.currency,
            "balance": plain(state["balance"]),
            "equity": plain(state["equity"]),
            "unrealized_pnl": plain(state["unrealized_pnl"]),
            "margin_equity": plain(state["margin_equity"]),
            "margin_used": plain(state["margin_used"]),
            "positions": [
                {
                    "symbol": position["symbol"],
                    "side": position["side"],
                    "quantity": plain(position["quantity"]),
                    "average_price": plain(position["average_price"]),
                    "unrealized_pnl": plain(position["unrealized_pnl"]),
                }
                for position in positions
            ],
        }

    def new_transactions(self) -> list[Answer]:
        """Those after the ones that were asked for last."""
        return self.transactions[int(self.asked_to or 0) :]


def plain(amount: Decimal) -> str:
    """A decimal string without an exponent."""
    return format(amount, "f")


def answer(
    conn: Connection,
    account_id: int,
    snapshot: object,
    transactions: object = (),
    since: str | None = None,
) -> Row:
    """Have an answer compared; the run."""
    return one(
        conn,
        "select * from api.record_broker_answer(%s, %s, %s, %s)",
        [
            account_id,
            Jsonb(snapshot),
            Jsonb(list(transactions) if isinstance(transactions, tuple) else transactions),
            since,
        ],
    )


def look(broker: HandBroker, **spoiled: Any) -> Row:
    """One look at the broker, some of whose figures are spoiled; the run."""
    run = answer(
        broker.conn,
        broker.account_id,
        {**broker.snapshot(), **spoiled},
        broker.new_transactions(),
        broker.asked_to,
    )
    if run["outcome"] != "failed":
        broker.asked_to = str(len(broker.transactions))
    return run


def discrepancies(conn: Connection, *, lasting: bool = True) -> list[Row]:
    """The discrepancies that last, or all, in the order that they were opened."""
    return every(
        conn,
        "select * from api.discrepancies where resolved_at is null or not %s"
        " order by discrepancy_id",
        [lasting],
    )


def dump(answer: Answer) -> str:
    """An answer as JSON text."""
    return json.dumps(answer)
