"""The simplest relay that people write: a NOTIFY a row, sent on as it is to who watches the row."""

import asyncio
import collections
import json
import multiprocessing
from multiprocessing.connection import Connection as Pipe

import psycopg
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from glue import wire
from tests.conftest import Connection, Database

STATES = """
create function public.naive() returns trigger language plpgsql as $$
begin
    perform pg_notify('naive', (
        select row_to_json(s) from api.account_states s where s.account_id = new.account_id
    )::text);
    return null;
end
$$;
create trigger account_states_naive after update on equity.account_states
    for each row execute function public.naive();
"""
"""Feeds it the states of all accounts."""
FILLS = """
create table public.naive_fills (
    fill_id bigint generated always as identity, account_id bigint, symbol text, side text,
    quantity numeric, price numeric
);
create function public.naive() returns trigger language plpgsql as $$
begin
    perform pg_notify('naive', row_to_json(new)::text);
    return null;
end
$$;
create trigger naive_fills_naive after insert on public.naive_fills
    for each row execute function public.naive();
"""
"""Feeds it the rows of a table that is nothing but a list of trades."""
WITHOUT = "drop function public.naive cascade; drop table if exists public.naive_fills"

spawn = multiprocessing.get_context("spawn")


class NaiveRelay:
    """The process, and the trigger that feeds it (STATES or FILLS), while the block lasts."""

    host = "127.0.0.1"

    def __init__(self, conn: Connection, database: Database, source: str) -> None:
        self._conn = conn
        self._source = source
        self._pipe, other = spawn.Pipe()
        self._process = spawn.Process(target=_run, args=(other, database.dsn), daemon=True)

    def __enter__(self) -> "NaiveRelay":
        self._conn.execute(self._source.encode())
        self._process.start()
        self.port: int = self._pipe.recv()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._conn.execute(WITHOUT)


def _run(pipe: Pipe, dsn: str) -> None:
    asyncio.run(_serve(pipe, dsn))


async def _serve(pipe: Pipe, dsn: str) -> None:
    watchers: dict[int, set[ServerConnection]] = collections.defaultdict(set)

    async def talk(connection: ServerConnection) -> None:
        hello = json.loads(await connection.recv())
        for account_id in hello["account_ids"]:
            watchers[account_id].add(connection)
        await connection.send('{"updated_at":"2000-01-01T00:00:00Z"}')
        await connection.wait_closed()

    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as listener,
        serve(
            talk, "127.0.0.1", 0, compression=None, subprotocols=[Subprotocol(wire.SUBPROTOCOL)]
        ) as server,
    ):
        await listener.execute("listen naive")
        pipe.send(server.sockets[0].getsockname()[1])
        async for notification in listener.notifies():
            for connection in watchers[json.loads(notification.payload)["account_id"]]:
                await connection.send(notification.payload)
