"""What tests of Payments do and look at."""

from collections import Counter
from collections.abc import Sequence

from gozon.orders.v1.events_pb2 import OrderCreated
from gozon.payments.v1.events_pb2 import PaymentFailed, PaymentSucceeded
from gozon.payments.v1.payments_pb2 import DepositRequest
from kit.db import Database, sql
from kit.events import Event
from kit.idempotency import key_of
from kit.ids import new_id
from services.payments.service import Deposited, PaymentService
from tests.support import outbox_of

LEDGER = sql("""
    SELECT accounts.user_id, balance, held, coalesce(sum(amount), 0) AS booked
    FROM accounts LEFT JOIN entries ON entries.user_id = accounts.user_id AND entries.account = 'user'
    GROUP BY accounts.user_id
""")
UNBALANCED = sql("""
    SELECT transaction_id FROM entries GROUP BY transaction_id, currency HAVING sum(amount) <> 0 OR count(*) <> 2
""")


def order_created(user_id: str, amount: int, *, order_id: str = "", currency: str = "RUB") -> Event:
    """An event of Orders that asks for money."""
    order_id = order_id or new_id()
    event = OrderCreated(order_id=order_id, user_id=user_id, total_price=amount, currency=currency)
    return Event(new_id(), "orders.created", event.SerializeToString(), f"trace of {order_id}")


def asked_again(message: Event) -> Event:
    """The same question in a new message, as the sweep of Orders asks it."""
    return Event(new_id(), message.subject, message.payload, message.traceparent)


def order_of(message: Event) -> str:
    """The order that an event asks for."""
    return OrderCreated.FromString(message.payload).order_id


async def deposit(
    service: PaymentService, user_id: str, amount: int, *, key: str = "", currency: str = ""
) -> Deposited:
    """Adds money under a key, a new one if none is given."""
    request = DepositRequest(user_id=user_id, amount=amount, currency=currency)
    return await service.deposit(request, key_of(user_id, "Deposit", key or new_id(), request))


async def account_with(service: PaymentService, amount: int, *, currency: str = "") -> str:
    """Opens an account, puts money into it if any, and returns its owner."""
    user_id = new_id()
    await service.open_account(user_id, currency)
    if amount:
        await deposit(service, user_id, amount)
    return user_id


async def balance_of(service: PaymentService, user_id: str) -> int:
    """The money of a user."""
    return (await service.get_account(user_id)).balance


async def answers(database: Database) -> list[tuple[str, str]]:
    """What waits in the outbox: pairs of order and what was decided about it, in order."""
    return [answer(message) for message in await outbox_of(database)]


def answer(message: Event) -> tuple[str, str]:
    """Reads an event of Payments: the order, and SUCCEEDED or the reason why not."""
    if message.subject == "payments.succeeded":
        return PaymentSucceeded.FromString(message.payload).order_id, "SUCCEEDED"
    assert message.subject == "payments.failed"
    failed = PaymentFailed.FromString(message.payload)
    return failed.order_id, PaymentFailed.Reason.Name(failed.reason)


def outcomes(told: Sequence[tuple[str, str]]) -> Counter[str]:
    """Counts answers by what they say."""
    return Counter(outcome for _, outcome in told)


async def assert_books_are_right(database: Database) -> None:
    """Every balance is the sum of its entries, nothing is negative, every transaction has two entries that balance."""
    async with database.autocommit() as connection:
        for row in await connection.execute(LEDGER):
            assert row["balance"] == row["booked"], row
            assert row["balance"] >= row["held"] >= 0, row
        assert (await connection.execute(UNBALANCED)) == []
        charged = "SELECT user_id, order_id FROM charges WHERE status = 'SUCCEEDED'"
        booked = "SELECT user_id, transaction_id FROM entries WHERE account = 'revenue'"
        difference = f"({charged} EXCEPT {booked}) UNION ({booked} EXCEPT {charged})"
        assert (await connection.execute(sql(difference))) == []
