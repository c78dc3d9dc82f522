"""What it takes until a thousand clients, each with an account of its own, know the new price.

All prices move ten times a second. The clients are a process of their own, and share the machine
with relay and server. The lag counts from the valuation, shortly before its commit, to the moment
when a client has the message.
"""

import asyncio
import json
import multiprocessing
import os
import random
import re
import time
from contextlib import suppress
from datetime import datetime
from multiprocessing.connection import Connection as Pipe

import pytest
from websockets.asyncio.client import connect

from glue import wire
from tests.bench import books
from tests.bench.report import milliseconds, percentile, table
from tests.conftest import Connection, Database
from tests.factories import every
from tests.glue.relays import issue_token, one, running_relay

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

SECONDS = min(20.0, float(os.environ.get("BENCH_SECONDS", "20")))
INTERVAL = 0.1
UPDATED_AT = re.compile(r'"updated_at":"([^"]+)"')

spawn = multiprocessing.get_context("spawn")


def watch(url: str, token: str, account_ids: list[int], pipe: Pipe) -> None:
    """Be a client for each account, and tell the lag of every update between two messages."""
    lags: list[float] = []
    is_counting = False

    async def be_client(account_id: int, is_synced: asyncio.Event) -> None:
        hello = {"type": "hello", "token": token, "account_ids": [account_id]}
        async with connect(
            url, subprotocols=[wire.SUBPROTOCOL], compression=None, max_size=None, proxy=None
        ) as socket:
            await socket.send(json.dumps(hello))
            async for text in socket:
                is_synced.set()
                found = UPDATED_AT.search(str(text))
                if is_counting and found and str(text).startswith('{"type":"update"'):
                    lags.append(time.time() - datetime.fromisoformat(found[1]).timestamp())

    async def be_all() -> None:
        nonlocal is_counting
        synced = [asyncio.Event() for _ in account_ids]
        clients = [
            asyncio.create_task(be_client(account_id, event))
            for account_id, event in zip(account_ids, synced, strict=True)
        ]
        for event in synced:
            await event.wait()
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        is_counting = True
        await asyncio.to_thread(pipe.recv)
        is_counting = False
        for client in clients:
            client.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*clients)

    asyncio.run(be_all())
    pipe.send(lags)


def move_prices(conn: Connection, chance: random.Random, seconds: float) -> None:
    """Tick all instruments in one statement, ten times a second."""
    until = time.monotonic() + seconds
    due = time.monotonic()
    while due < until:
        quotes = [books.quote(chance) for _ in books.PAIRS]
        conn.execute(
            "select api.ingest_ticks(%s, array_fill(clock_timestamp(), array[%s]),"
            " %s::text[]::numeric[], %s::text[]::numeric[])",
            [books.PAIRS, len(quotes), [bid for bid, _ in quotes], [ask for _, ask in quotes]],
        )
        due += INTERVAL
        time.sleep(max(0.0, due - time.monotonic()))


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("clients", [100, 1_000])
def test_price_to_client(conn: Connection, database: Database, clients: int) -> None:
    books.load(conn, accounts=clients, positions=1)
    conn.execute("set synchronous_commit = off")  # as ingest does
    account_ids = [row["account_id"] for row in every(conn, "select account_id from api.accounts")]
    token = issue_token(conn)
    ours, theirs = spawn.Pipe()
    versions = "select sum(version) from equity.account_states"
    options = [f"--max-clients-per-{what}={clients}" for what in ("token", "address")]
    with running_relay(database.dsn, *options) as relay:
        url = f"ws://{relay.host}:{relay.port}/ws"
        process = spawn.Process(target=watch, args=(url, token, account_ids, theirs), daemon=True)
        process.start()
        assert ours.recv() == "ready"
        chance = random.Random(1)
        move_prices(conn, chance, 2)
        ours.send("count")
        before, (moved_before,) = cpu_seconds(relay.process.pid), one(conn, versions)
        move_prices(conn, chance, SECONDS)
        after, (moved_after,) = cpu_seconds(relay.process.pid), one(conn, versions)
        ours.send("stop")
        lags = ours.recv()
        process.join()
    table(
        f"{clients} clients with an account of one position each, all prices 10 times a second",
        ["updates/s", "of states", "p50", "p95", "p99", "relay's CPU"],
        [
            [
                f"{len(lags) / SECONDS:.0f}",
                f"{len(lags) / float(moved_after - moved_before):.0%}",
                *(milliseconds(percentile(lags, fraction)) for fraction in (0.5, 0.95, 0.99)),
                f"{(after - before) / SECONDS:.0%}",
            ]
        ],
    )
    assert len(lags) > clients * SECONDS, "more than one update a second and client"
