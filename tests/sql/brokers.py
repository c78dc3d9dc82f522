"""A broker made by hand. It keeps its books in an account of its own, which no broker has, and
answers what stands there: an honest copy, unless a test tells the two sides different things."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from psycopg.types.json import Jsonb

from tests.factories import Connection, Row, account, entry, every, fill, one

Answer = dict[str, Any]


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


def quote(conn: Connection, *rows: tuple[str, str, str]) -> None:
    """Ticks of this very moment: symbol, bid, ask."""
    conn.execute(
        "select api.ingest_ticks(%s, %s, %s::text[]::numeric[], %s::text[]::numeric[])",
        [
            [row[0] for row in rows],
            [now()] * len(rows),
            [row[1] for row in rows],
            [row[2] for row in rows],
        ],
    )


class HandBroker:
    """An account at a broker, and the ledger's account of it."""

    def __init__(
        self,
        conn: Connection,
        currency: str = "USD",
        mode: str = "netting",
        scale: int = 2,
        number: str = "A-1",
    ) -> None:
        self.conn = conn
        self.currency = currency
        self.mode = mode
        self.account_id: int = one(
            conn,
            "select account_id from api.open_account('At broker', %s, %s, 'sim', %s, "
            "p_money_scale => %s)",
            [currency, mode, number, scale],
        )["account_id"]
        self.own_id = account(conn, currency, None, mode, scale=scale, name="The broker's own")
        self.transactions: list[Answer] = []
        self.told = 0
        """How many transactions have been told."""

    # What it books: on both sides, unless it says "only" -----------------------------------------

    def fill_only(
        self,
        symbol: str,
        side: str,
        quantity: str,
        price: str,
        *,
        commission: str = "0",
        effect: str = "auto",
        **told: Any,
    ) -> str:
        """Book a trade at the broker only; its id."""
        booked = fill(
            self.conn, self.own_id, symbol, side, quantity, price, effect, commission=commission
        )
        return self._tell(
            {
                "kind": "fill",
                "symbol": symbol,
                "side": side,
                "quantity": quantity,
                "opened_quantity": "0" if effect == "close" else quantity,
                "price": price,
                "commission": commission,
                "realized_pnl": plain(booked["realized_pnl"]),
                **told,
            }
        )

    def entry_only(self, kind: str, amount: str) -> str:
        """Book a cash movement at the broker only; its id."""
        entry(self.conn, self.own_id, kind, amount)
        return self._tell({"kind": "entry", "entry_kind": kind, "amount": amount})

    def fill(
        self,
        symbol: str,
        side: str,
        quantity: str,
        price: str,
        *,
        commission: str = "0",
        effect: str = "auto",
    ) -> Row:
        """Book a trade; the ledger's fill."""
        external_id = self.fill_only(
            symbol, side, quantity, price, commission=commission, effect=effect
        )
        return fill(
            self.conn, self.account_id, symbol, side, quantity, price, effect, commission,
            external_id,
        )  # fmt: skip

    def entry(self, kind: str, amount: str) -> Row:
        """Book a cash movement; the ledger's entry."""
        return entry(self.conn, self.account_id, kind, amount, self.entry_only(kind, amount))

    def _tell(self, transaction: Answer) -> str:
        transaction_id = str(len(self.transactions) + 1)
        self.transactions.append(
            {"transaction_id": transaction_id, "at": now().isoformat(), **transaction}
        )
        return transaction_id

    # What it answers -----------------------------------------------------------------------------

    def snapshot(self) -> Answer:
        """Its books and its prices as they stand."""
        state = one(
            self.conn, "select * from api.account_states where account_id = %s", [self.own_id]
        )
        return {
            "transaction_id": str(len(self.transactions)),
            "taken_at": now().isoformat(),
            "currency": self.currency,
            "positions": [
                {
                    "symbol": position["symbol"],
                    "side": position["side"],
                    "quantity": plain(position["quantity"]),
                    "average_price": plain(position["average_price"]),
                    "unrealized_pnl": plain(position["unrealized_pnl"]),
                }
                for position in every(
                    self.conn, "select * from api.positions where account_id = %s", [self.own_id]
                )
            ],
        } | {
            name: plain(state[name])
            for name in ("balance", "equity", "unrealized_pnl", "margin_equity", "margin_used")
        }

    def since(self) -> str | None:
        """The transaction after which to ask: the last one that was told."""
        return str(self.told) if self.told else None

    def look(self, **spoiled: Any) -> Row:
        """One look at it, with some figures other than they are; the run."""
        return self.compare({**self.snapshot(), **spoiled})

    def compare(self, snapshot: Answer) -> Row:
        """Have a snapshot compared, with all transactions that have not been told; the run."""
        run = answer(
            self.conn,
            self.account_id,
            snapshot,
            self.transactions[self.told :],
            self.since(),
        )
        if run["outcome"] != "failed":
            self.told = len(self.transactions)
        return run


def plain(amount: Decimal) -> str:
    """A decimal string without an exponent."""
    return format(amount, "f")


def answer(
    conn: Connection,
    account_id: int,
    snapshot: object,
    transactions: object,
    since: str | None = None,
) -> Row:
    """Have an answer compared; the run."""
    return one(
        conn,
        "select * from api.record_broker_answer(%s, %s, %s, %s)",
        [account_id, Jsonb(snapshot), Jsonb(transactions), since],
    )


def differing_broker(conn: Connection) -> HandBroker:
    """A broker whose balance has been another than ours for two looks: a discrepancy is open."""
    conn.execute("select api.set_reconciliation_settings(p_grace => '0')")
    broker = HandBroker(conn)
    broker.entry("deposit", "10000")
    for _ in range(2):
        broker.look(balance="9999", equity="9999", margin_equity="9999")
    return broker


def lasting(conn: Connection) -> list[Row]:
    """The discrepancies that last, in the order that they were opened."""
    return every(
        conn, "select * from api.discrepancies where resolved_at is null order by discrepancy_id"
    )
