"""The books as OANDA's v20 API shows them: JSON objects, every number a string.

Names and meanings follow OANDA's public documentation; a field is there only where it is true.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from glue.brokers.simulated.account import (
    Account,
    Booked,
    Entry,
    EntryKind,
    Fill,
    Lost,
    Opening,
    Order,
    Position,
    Price,
    Trade,
)
from glue.brokers.simulated.books import Books, Instrument, PositionValue, Value

Json = dict[str, Any]

MONEY_DIGITS = 4
"""What OANDA shows of amounts, whatever the currency."""
RATE_DIGITS = 12
CLOSE_OUT_SHARE = Decimal("0.5")
"""Of the margin used: an account is closed out when its equity at mid falls to it."""


def details(books: Books, account: Account) -> Json:
    """The answer with everything: figures, trades and positions under one transaction id."""
    valued = books.value(account)
    return _with_last_id(
        account,
        account=_summary(account, valued)
        | {
            "trades": [
                _trade(account, books.instrument(one.position.symbol), trade, one)
                for one in valued.positions
                for trade in one.position.trades
            ],
            "positions": _positions(books, account, valued),
            "orders": [],
        },
    )


def summary(books: Books, account: Account) -> Json:
    """The figures without what they are made of."""
    return _with_last_id(account, account=_summary(account, books.value(account)))


def positions(books: Books, account: Account) -> Json:
    """The open positions."""
    return _with_last_id(account, positions=_positions(books, account, books.value(account)))


def trades(books: Books, account: Account) -> Json:
    """The open trades, newest first."""
    found = [
        _trade(account, books.instrument(one.position.symbol), trade, one)
        for one in books.value(account).positions
        for trade in one.position.trades
    ]
    return _with_last_id(account, trades=sorted(found, key=lambda t: int(t["id"]), reverse=True))


def orders(account: Account) -> Json:
    """The pending orders: none, since market orders are filled at once."""
    return _with_last_id(account, orders=[])


def instruments(books: Books, account: Account, symbols: Iterable[str]) -> Json:
    """What can be traded."""
    return _with_last_id(
        account, instruments=[_instrument(books.instrument(symbol)) for symbol in symbols]
    )


def pricing(books: Books, account: Account, prices: Iterable[Price], now: datetime) -> Json:
    """The prices of now."""
    return {"time": instant(now), "prices": [_price(books, account, price) for price in prices]}


def transactions(account: Account, booked: Iterable[Booked]) -> Json:
    """Some transactions."""
    return _with_last_id(account, transactions=[transaction(account, one) for one in booked])


def transaction(account: Account, booked: Booked) -> Json:
    """One transaction."""
    event = booked.event
    shape: Json = {
        "id": str(booked.transaction_id),
        "accountID": account.account_id,
        "userID": 1,
        "batchID": str(booked.transaction_id),
        "time": instant(event.at),
    }
    match event:
        case Opening():
            shape |= {"type": "CREATE", "homeCurrency": account.currency}
        case Lost():
            shape["type"] = "ORDER_CANCEL" if event.was_fill else "TRANSFER_FUNDS_REJECT"
        case Order():
            shape |= _order(event)
        case Entry():
            shape |= _entry(event) | {"accountBalance": money(booked.balance)}
        case Fill():
            shape |= _fill(account, booked, event)
    return shape


def order_created(account: Account, order: Booked, fill: Booked | None) -> Json:
    """The answer to an order; `fill` is None where it was lost on the way."""
    related = [str(order.transaction_id)]
    answer: Json = {"orderCreateTransaction": transaction(account, order)}
    if fill is not None:
        related.append(str(fill.transaction_id))
        answer["orderFillTransaction"] = transaction(account, fill)
    return _with_last_id(account, **answer, relatedTransactionIDs=related)


def instrument_name(symbol: str) -> str:
    """EUR/USD as EUR_USD."""
    return symbol.replace("/", "_")


def symbol_of(name: str) -> str:
    """EUR_USD as EUR/USD."""
    return name.replace("_", "/")


def instant(at: datetime) -> str:
    """RFC 3339 with nanoseconds."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


def money(amount: Decimal) -> str:
    """An amount of account currency."""
    return _digits(amount, MONEY_DIGITS)


def _digits(number: Decimal, digits: int) -> str:
    return f"{number.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP):f}"


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}" if number else "0"


def _with_last_id(of: Account, /, **answer: Any) -> Json:
    return answer | {"lastTransactionID": of.last_transaction_id}


def _summary(account: Account, valued: Value) -> Json:
    equity = account.balance + valued.unrealized_pnl
    margin_equity = account.balance + valued.mid_pnl
    needed = valued.margin_used * CLOSE_OUT_SHARE
    share = needed / margin_equity if margin_equity > 0 else Decimal(0)
    return {
        "id": account.account_id,
        "currency": account.currency,
        "createdByUserID": 1,
        "hedgingEnabled": account.is_hedging,
        "balance": money(account.balance),
        "NAV": money(equity),
        "unrealizedPL": money(valued.unrealized_pnl),
        "marginUsed": money(valued.margin_used),
        "marginAvailable": money(max(margin_equity - valued.margin_used, Decimal(0))),
        "positionValue": money(valued.value),
        "marginCloseoutUnrealizedPL": money(valued.mid_pnl),
        "marginCloseoutNAV": money(margin_equity),
        "marginCloseoutMarginUsed": money(valued.margin_used),
        "marginCloseoutPositionValue": money(valued.value),
        "marginCloseoutPercent": _digits(share, 5),
        "openTradeCount": sum(len(one.position.trades) for one in valued.positions),
        "openPositionCount": len({one.position.symbol for one in valued.positions}),
        "pendingOrderCount": 0,
        "lastTransactionID": account.last_transaction_id,
    }


def _positions(books: Books, account: Account, valued: Value) -> list[Json]:
    by_symbol: dict[str, list[PositionValue]] = {}
    for one in valued.positions:
        by_symbol.setdefault(one.position.symbol, []).append(one)
    return [
        {
            "instrument": instrument_name(symbol),
            "unrealizedPL": money(sum((one.unrealized_pnl for one in sides), Decimal(0))),
            "marginUsed": money(max(one.margin_used for one in sides)),
        }
        | {
            side: next(
                (
                    _side(books.instrument(symbol), one)
                    for one in sides
                    if one.position.side == side
                ),
                {"units": "0", "unrealizedPL": money(Decimal(0))},
            )
            for side in ("long", "short")
        }
        for symbol, sides in by_symbol.items()
    ]


def _side(instrument: Instrument, one: PositionValue) -> Json:
    return {
        "units": _plain(one.position.quantity),
        "averagePrice": _average_price(instrument, one.position),
        "tradeIDs": [str(trade.trade_id) for trade in one.position.trades],
        "unrealizedPL": money(one.unrealized_pnl),
    }


def _average_price(instrument: Instrument, position: Position) -> str:
    return _digits(position.cost / position.quantity, instrument.digits)


def _trade(account: Account, instrument: Instrument, trade: Trade, one: PositionValue) -> Json:
    share = trade.quantity / one.position.quantity
    return {
        "id": str(trade.trade_id),
        "instrument": instrument_name(instrument.symbol),
        "price": _digits(trade.price, instrument.digits),
        "openTime": instant(trade.opened_at),
        "state": "OPEN",
        "currentUnits": _plain(trade.quantity),
        "unrealizedPL": money(account.money(one.unrealized_pnl * share)),
        "marginUsed": money(account.money(one.margin_used * share)),
    }


def _instrument(instrument: Instrument) -> Json:
    return {
        "name": instrument_name(instrument.symbol),
        "displayName": instrument.symbol,
        "type": "METAL" if instrument.symbol.startswith("X") else "CURRENCY",
        "displayPrecision": instrument.digits,
        "pipLocation": 1 - instrument.digits,
        "tradeUnitsPrecision": 0,
        "minimumTradeSize": "1",
        "marginRate": _plain(instrument.margin_rate),
    }


def _price(books: Books, account: Account, price: Price) -> Json:
    digits = books.instrument(price.symbol).digits
    bid, ask = _digits(price.bid, digits), _digits(price.ask, digits)
    rate = books.rate(price.symbol.split("/")[1], account.currency)
    shape: Json = {
        "type": "PRICE",
        "instrument": instrument_name(price.symbol),
        "time": instant(price.at),
        "tradeable": True,
        "status": "tradeable",
        "bids": [{"price": bid, "liquidity": 10_000_000}],
        "asks": [{"price": ask, "liquidity": 10_000_000}],
        "closeoutBid": bid,
        "closeoutAsk": ask,
    }
    if rate is not None:
        shape["quoteHomeConversionFactors"] = {
            "positiveUnits": _digits(rate * (1 - account.conversion_markup), RATE_DIGITS),
            "negativeUnits": _digits(rate * (1 + account.conversion_markup), RATE_DIGITS),
        }
    return shape


def _order(order: Order) -> Json:
    shape: Json = {
        "type": "MARKET_ORDER",
        "instrument": instrument_name(order.symbol),
        "units": _plain(order.units),
        "timeInForce": "FOK",
        "positionFill": "DEFAULT",
        "reason": "CLIENT_ORDER",
    }
    if order.client_id:
        shape["clientExtensions"] = {"id": order.client_id}
    return shape


_FUNDING_REASONS: dict[EntryKind, str] = {
    "deposit": "CLIENT_FUNDING",
    "withdrawal": "CLIENT_FUNDING",
    "adjustment": "ADJUSTMENT",
}


def _entry(entry: Entry) -> Json:
    if entry.kind == "financing":
        return {"type": "DAILY_FINANCING", "financing": money(entry.amount)}
    if entry.kind == "dividend":
        return {"type": "DIVIDEND_ADJUSTMENT", "dividendAdjustment": money(entry.amount)}
    shape: Json = {
        "type": "TRANSFER_FUNDS",
        "amount": money(entry.amount),
        "fundingReason": _FUNDING_REASONS[entry.kind],
    }
    if entry.comment:
        shape["comment"] = entry.comment
    return shape


def _fill(account: Account, booked: Booked, fill: Fill) -> Json:
    units = fill.quantity if fill.side == "buy" else -fill.quantity
    price = _plain(fill.price)
    shape: Json = {
        "type": "ORDER_FILL",
        "batchID": str(fill.order_id or booked.transaction_id),
        "orderID": str(fill.order_id or booked.transaction_id),
        "instrument": instrument_name(fill.symbol),
        "units": _plain(units),
        "price": price,
        "fullVWAP": price,
        "reason": fill.reason,
        "pl": money(booked.realized_pnl),
        "financing": money(fill.financing),
        "commission": money(fill.commission),
        "guaranteedExecutionFee": money(Decimal(0)),
        "accountBalance": money(booked.balance),
    }
    if fill.client_id:
        shape["clientOrderID"] = fill.client_id
    if fill.conversion_rate is not None:
        rate, markup = fill.conversion_rate, account.conversion_markup
        shape["gainQuoteHomeConversionFactor"] = _digits(rate * (1 - markup), RATE_DIGITS)
        shape["lossQuoteHomeConversionFactor"] = _digits(rate * (1 + markup), RATE_DIGITS)
    reduced = [
        (
            {
                "tradeID": str(part.trade_id),
                "units": _plain(-part.quantity),
                "price": price,
                "realizedPL": money(part.realized_pnl),
                "financing": money(part.financing),
            },
            part.is_gone,
        )
        for part in booked.closed
    ]
    closed = [part for part, is_gone in reduced if is_gone]
    if closed:
        shape["tradesClosed"] = closed
    for part, is_gone in reduced:
        if not is_gone:
            shape["tradeReduced"] = part
    if booked.opened is not None:
        shape["tradeOpened"] = {
            "tradeID": str(booked.opened.trade_id),
            "units": _plain(booked.opened.quantity),
            "price": price,
        }
    return shape
