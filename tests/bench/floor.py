"""pgbench's floor: the SQL work of an order, one order at a time, on the same PostgreSQL in tables of the same shape.

Three transactions, as a service without batches would make them: create, pay, finish. Each also deletes the outbox
row whose message led to it. Every client has an account of its own, so none waits for a row lock. `pipelined` sends
each transaction in one go: the stricter limit, which a service that must look at answers can't reach.
"""

import asyncio
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.schema import CreateSchema

from services.orders import tables as orders_tables
from services.payments import tables as payments_tables
from stack import binaries
from stack.home import Stack
from tests.bench.asked import ITEMS, ITEMS_JSON, TOTAL_PRICE
from tests.bench.cpu import Meter
from tests.bench.stack import pids
from tests.bench.tally import GENERATOR

DATABASE = "bench_floor"
RUN_STEP = 100_000_000
"""Orders of one client in one run have numbers below this."""
FUNDS = 1_000_000_000_000_000
CREATED_BYTES, DECIDED_BYTES, PAID_BYTES = 105, 105, 150 + len(ITEMS) * 15
"""About what the events weigh."""
TRACE = f"00-{'1' * 32}-{'2' * 16}-01"


@dataclass(frozen=True, slots=True)
class Floor:
    """One run of pgbench."""

    rate: float
    """Of orders, or what else the script does, a second."""
    cpu_us: dict[str, float]
    """CPU of PostgreSQL and of pgbench itself, µs each."""
    others_cores: float
    """How many cores everybody else kept busy meanwhile: noise."""


async def prepare(stack: Stack, clients: int) -> None:
    """Makes the scratch database: the tables of Orders and Payments, and an account for each client."""
    admin = await asyncpg.connect(stack.superuser_url())
    await admin.execute(f"CREATE DATABASE {DATABASE}")
    await admin.close()
    engine = create_async_engine(stack.superuser_url(DATABASE).replace("postgresql:", "postgresql+asyncpg:"))
    tables: dict[str, MetaData] = {"orders": orders_tables.metadata, "payments": payments_tables.metadata}
    for schema, metadata in tables.items():
        async with engine.execution_options(schema_translate_map={None: schema}).begin() as connection:
            await connection.execute(CreateSchema(schema))
            await connection.run_sync(metadata.create_all)
    await engine.dispose()
    scratch = await asyncpg.connect(stack.superuser_url(DATABASE))
    await scratch.execute(f"""
        INSERT INTO payments.accounts (user_id, currency, balance, held, number, hash, created_at, updated_at)
        SELECT {uuid("i")}, 'RUB', {FUNDS}, 0, 0, '', now(), now() FROM generate_series(0, {clients - 1}) AS i
    """)
    await scratch.close()


async def run(stack: Stack, script: str, *, number: int, clients: int, seconds: float) -> Floor:
    """Runs pgbench once; runs need rising numbers. Errors: RuntimeError when it fails or a transaction did."""
    scratch = await asyncpg.connect(stack.superuser_url(DATABASE))
    await scratch.execute("UPDATE payments.accounts SET number = $1", number * RUN_STEP)
    await scratch.close()
    file = stack.home.path / "floor.sql"
    file.write_text(script)
    meter, began = Meter({"postgres": pids(stack)["postgres"]}), time.monotonic()
    pgbench = await asyncio.create_subprocess_exec(
        binaries.postgres("pgbench"),
        "--no-vacuum",
        "--protocol=prepared",
        f"--client={clients}",
        "--jobs=2",
        f"--time={max(1, round(seconds))}",
        f"--define=n={number * RUN_STEP}",
        f"--file={file}",
        stack.superuser_url(DATABASE),
        env={**os.environ, "PGOPTIONS": "-c search_path=payments"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = (part.decode() for part in await pgbench.communicate())
    rate = re.search(r"^tps = ([\d.]+)", stdout, re.MULTILINE)
    if pgbench.returncode or rate is None or "number of failed transactions: 0 " not in stdout:
        raise RuntimeError(f"pgbench failed, exit code {pgbench.returncode}:\n{stdout}{stderr}")
    used, own, others = meter.stop()
    done = int(re.findall(r"actually processed: (\d+)", stdout)[0])
    cpu_us = {name: total / done * 1e6 for name, total in {**used, GENERATOR: own}.items()}
    return Floor(float(rate[1]), cpu_us, others / (time.monotonic() - began))


def order(pipelined: bool) -> str:
    """Returns the script of one order, for pgbench."""
    return script([_CREATE, _PAY, _FINISH], pipelined)


def script(transactions: Sequence[str], pipelined: bool) -> str:
    """Returns a script of transactions, each sent in one go if that is wanted; what they can name is in _IDS."""
    if pipelined:
        transactions = [f"\\startpipeline\n{one}\\endpipeline\n" for one in transactions]
    return _IDS + "".join(transactions)


def uuid(number: str) -> str:
    """Returns the SQL of an id that is made of a bigint."""
    return f"lpad(to_hex({number}), 32, '0')::uuid"


def payload(size: int) -> str:
    """Returns the SQL of so many bytes."""
    return f"'{'x' * size}'::bytea"


# Ids of one client go up, as UUIDv7 do. pgbench takes a colon before a name for a variable: JSON needs its spaces.
_IDS = r"""
\set n :n + 1
\set user :client_id
\set order :client_id * 1099511627776 + :n * 8
\set before :order - 5
\set created :order + 1
\set decided :order + 2
\set paid :order + 3
"""
_USER, _ORDER = uuid(":user::bigint"), uuid(":order::bigint")
_BEFORE, _CREATED, _DECIDED, _PAID = (uuid(f":{name}::bigint") for name in ("before", "created", "decided", "paid"))
_HASH = payload(32)
_CREATE = f"""
BEGIN;
INSERT INTO orders.orders (user_id, id, status, cancel_reason, items, description, total_price, currency,
                           created_at, updated_at, asked_at)
    VALUES ({_USER}, {_ORDER}, 'PENDING', '', '{ITEMS_JSON}'::jsonb, '', {TOTAL_PRICE}, 'RUB', now(), now(), now());
INSERT INTO orders.outbox (id, subject, payload, traceparent)
    VALUES ({_CREATED}, 'orders.created', {payload(CREATED_BYTES)}, '{TRACE}');
DELETE FROM orders.outbox WHERE id = {_BEFORE};
COMMIT;
"""
_PAY = f"""
BEGIN;
INSERT INTO payments.inbox (consumer, event_id) VALUES ('payments-charge', {_CREATED}) ON CONFLICT DO NOTHING;
UPDATE payments.accounts SET balance = balance - {TOTAL_PRICE}, number = :n, hash = {_HASH}, updated_at = now()
    WHERE user_id = {_USER} AND balance - held >= {TOTAL_PRICE};
INSERT INTO payments.payments (user_id, order_id, status, reason, amount, currency, captured, refunded, requested_by,
                               created_at, updated_at)
    VALUES ({_USER}, {_ORDER}, 'CAPTURED', '', {TOTAL_PRICE}, 'RUB', {TOTAL_PRICE}, 0, 'ORDERS', now(), now());
INSERT INTO payments.transactions (user_id, number, kind, order_id, currency, to_available, to_held, to_funding,
                                   to_revenue, to_payouts, balance, held, created_at, hash)
    VALUES ({_USER}, :n, 'CHARGE', {_ORDER}, 'RUB', -{TOTAL_PRICE}, 0, 0, {TOTAL_PRICE}, 0, {FUNDS}, 0, now(), {_HASH});
INSERT INTO payments.outbox (id, subject, payload, traceparent)
    VALUES ({_DECIDED}, 'payments.succeeded', {payload(DECIDED_BYTES)}, '{TRACE}');
DELETE FROM orders.outbox WHERE id = {_CREATED};
COMMIT;
"""
_FINISH = f"""
BEGIN;
UPDATE orders.orders SET status = 'PAID', paid_price = {TOTAL_PRICE}, asked_at = NULL, updated_at = now(),
                         version = version + 1
    WHERE user_id = {_USER} AND id = {_ORDER} AND status = 'PENDING';
INSERT INTO orders.order_changes (user_id, order_id, version, status, cause, cancel_reason, refunded, description,
                                  changed_at)
    VALUES ({_USER}, {_ORDER}, 2, 'PAID', 'PAYMENT', '', 0, '', now());
INSERT INTO orders.outbox (id, subject, payload, traceparent)
    VALUES ({_PAID}, 'orders.paid', {payload(PAID_BYTES)}, '{TRACE}');
DELETE FROM payments.outbox WHERE id = {_DECIDED};
COMMIT;
"""
