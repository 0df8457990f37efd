"""A client of Gozon in Python: registers a user, opens an account, tops it up, orders something and waits for PAID."""

import sys
import uuid

import grpc
from google.rpc import error_details_pb2, status_pb2

from gozon.orders.v1.orders_pb2 import CreateOrderRequest, Order, OrderItem, WatchOrderRequest
from gozon.orders.v1.orders_pb2_grpc import OrdersServiceStub
from gozon.payments.v1.payments_pb2 import DepositRequest, GetAccountRequest, OpenAccountRequest
from gozon.payments.v1.payments_pb2_grpc import PaymentsServiceStub
from gozon.users.v1.users_pb2 import RegisterRequest, TokenRequest
from gozon.users.v1.users_pb2_grpc import UsersServiceStub

PASSWORD = "correct horse battery staple"
DEADLINE_SECONDS = 30
"""For each call; a service gives up a call when its client does."""

Metadata = tuple[tuple[str, str], ...]


def run(channel: grpc.Channel) -> None:
    """Walks from registering to a paid order; raises grpc.RpcError for what is refused."""
    # One channel for all three services: the edge looks at the method's name.
    users, payments, orders = UsersServiceStub(channel), PaymentsServiceStub(channel), OrdersServiceStub(channel)

    email = f"python-{uuid.uuid4()}@example.com"
    user = users.Register(RegisterRequest(email=email, password=PASSWORD), timeout=DEADLINE_SECONDS)
    print("registered", user.email, user.id)
    token = users.Token(
        TokenRequest(grant_type="password", username=email, password=PASSWORD), timeout=DEADLINE_SECONDS
    )
    signed_in = (("authorization", f"{token.token_type} {token.access_token}"),)

    payments.OpenAccount(OpenAccountRequest(user_id=user.id), metadata=signed_in, timeout=DEADLINE_SECONDS)
    deposit = DepositRequest(user_id=user.id, amount=100_000)
    twice(payments, deposit, (*signed_in, ("idempotency-key", f"first deposit of {user.id}")))

    order = orders.CreateOrder(
        CreateOrderRequest(items=[OrderItem(name="tea", quantity=2, price=19_900)]),
        metadata=(*signed_in, ("idempotency-key", f"order of {email}")),
        timeout=DEADLINE_SECONDS,
    )
    print("created", order.id, Order.Status.Name(order.status), order.total_price, order.currency)

    # The first message is the order as it is; the next one comes when it is settled.
    changes = orders.WatchOrder(WatchOrderRequest(order_id=order.id), metadata=signed_in, timeout=DEADLINE_SECONDS)
    while order.status == Order.PENDING:
        order = next(changes)
        print("it is", Order.Status.Name(order.status))
    changes.cancel()
    account = payments.GetAccount(GetAccountRequest(user_id=user.id), metadata=signed_in, timeout=DEADLINE_SECONDS)
    print("balance", account.balance, account.currency)


def twice(payments: PaymentsServiceStub, request: DepositRequest, metadata: Metadata) -> None:
    """Deposits with one idempotency key two times, as a client does that did not get the first answer."""
    for _ in range(2):
        account, call = payments.Deposit.with_call(request, metadata=metadata, timeout=DEADLINE_SECONDS)
        replayed = dict(call.initial_metadata()).get("idempotency-replayed")
        print("deposited", account.balance, account.currency, "replayed", replayed)


def explain(error: grpc.RpcError) -> str:
    """Adds the reason of a Gozon error, which programs decide by; the message is for people."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(details).details:
        if detail.Unpack(info):
            return f"{error.code().name} {info.reason}: {error.details()}"
    if error.code() == grpc.StatusCode.UNAVAILABLE:
        return f"is `make up` running? {error.details()}"
    return f"{error.code().name}: {error.details()}"


if __name__ == "__main__":
    with grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "localhost:8080") as edge:
        try:
            run(edge)
        except grpc.RpcError as refused:
            sys.exit(explain(refused))
