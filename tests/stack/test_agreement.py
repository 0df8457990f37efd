"""What Orders and Payments may tell about the same order, refund or product, and what not."""

from typing import Any

import pytest

from services.system.audit.agreement import order_problem, product_problem, refund_problem

Told = dict[str, Any]

PENDING: Told = {
    "status": "PENDING",
    "cancel_reason": "",
    "capture": "AUTOMATIC",
    "total_price": 5,
    "currency": "RUB",
    "paid_price": 0,
    "refunded_price": 0,
    "asked_at": "lately",
}
PAID = PENDING | {"status": "PAID", "paid_price": 5, "asked_at": None}
SHIPPED = PAID | {"status": "SHIPPED"}
AUTHORIZED = PENDING | {"status": "AUTHORIZED", "capture": "MANUAL", "asked_at": None}
POOR = PENDING | {"status": "CANCELED", "cancel_reason": "INSUFFICIENT_FUNDS", "asked_at": None}
MISMATCH = POOR | {"cancel_reason": "HOLD_MISMATCH"}
LAPSED = AUTHORIZED | {"status": "CANCELED", "cancel_reason": "EXPIRED"}
GIVEN_UP = PENDING | {"status": "CANCELED", "cancel_reason": "REQUESTED"}
ENDED = GIVEN_UP | {"asked_at": None}
ENDED_WITH_MONEY = ENDED | {"paid_price": 5, "refunded_price": 5}

TAKEN: Told = {
    "status": "CAPTURED",
    "reason": "",
    "amount": 5,
    "currency": "RUB",
    "captured": 5,
    "refunded": 0,
    "requested_by": "ORDERS",
    "expires_at": None,
    "settled": True,
}
REFUSED = TAKEN | {"status": "FAILED", "reason": "INSUFFICIENT_FUNDS", "captured": 0}
HELD = TAKEN | {"status": "AUTHORIZED", "captured": 0, "expires_at": "soon"}
CAPTURED = HELD | {"status": "CAPTURED", "captured": 5}
RELEASED = HELD | {"status": "RELEASED", "reason": "EXPIRED"}
REVERSED = TAKEN | {"status": "REVERSED", "refunded": 5}
TOMBSTONE = TAKEN | {"status": "REVERSED", "captured": 0}
YOUNG: Told = {"settled": False}
BY_ADMIN: Told = {"requested_by": "ADMIN"}

ALIKE = [
    (PENDING, None),
    (PENDING, TAKEN | YOUNG),
    (PENDING, REFUSED | YOUNG),
    (PAID, TAKEN),
    (PAID | {"refunded_price": 2}, TAKEN | {"refunded": 2}),
    (PAID, TAKEN | YOUNG | {"refunded": 2}),
    (PAID, REVERSED | YOUNG),
    (SHIPPED, TAKEN),
    (SHIPPED | {"capture": "MANUAL"}, CAPTURED),
    (AUTHORIZED, HELD),
    (AUTHORIZED, CAPTURED | YOUNG),
    (AUTHORIZED, RELEASED | YOUNG),
    (POOR, REFUSED),
    (LAPSED, RELEASED),
    (GIVEN_UP, None),
    (GIVEN_UP, TAKEN),
    (GIVEN_UP, REVERSED),
    (ENDED, TOMBSTONE),
    (ENDED, REFUSED),
    (ENDED | {"capture": "MANUAL"}, RELEASED),
    (ENDED_WITH_MONEY, REVERSED),
    (LAPSED, REVERSED | {"captured": 0, "refunded": 0, "expires_at": "soon"}),
    (None, REFUSED | YOUNG),
    (None, HELD | BY_ADMIN),
    # An admin held it before the order asked.
    (PAID, CAPTURED),
    # It was another amount, or the order was canceled before it asked.
    (MISMATCH, RELEASED | BY_ADMIN | {"amount": 4, "reason": "HOLD_MISMATCH"}),
    (MISMATCH, RELEASED | BY_ADMIN | {"amount": 9, "reason": "HOLD_MISMATCH", "captured": 8, "refunded": 8}),
    (ENDED, REVERSED | BY_ADMIN | {"amount": 9, "captured": 8, "refunded": 8}),
]
UNLIKE = [
    (PENDING, TAKEN),
    (PENDING, REFUSED),
    (PENDING, TAKEN | YOUNG | {"amount": 6}),
    (PAID, None),
    (PAID, REFUSED),
    (PAID, REVERSED),
    (PAID, HELD),
    (PAID, TAKEN | {"amount": 6}),
    (PAID, TAKEN | {"currency": "USD"}),
    (PAID, TAKEN | YOUNG | {"amount": 6}),
    (PAID, TAKEN | {"captured": 4}),
    (PAID, TAKEN | {"refunded": 2}),
    (PAID | {"refunded_price": 2}, TAKEN | YOUNG),
    (PAID, CAPTURED | BY_ADMIN),
    (AUTHORIZED | {"capture": "AUTOMATIC"}, HELD),
    (MISMATCH, RELEASED | BY_ADMIN),
    (SHIPPED, REVERSED | YOUNG),
    (SHIPPED | {"capture": "MANUAL"}, TAKEN),
    (AUTHORIZED, None),
    (AUTHORIZED, CAPTURED),
    (AUTHORIZED, REFUSED | YOUNG),
    (POOR, None),
    (POOR, TAKEN),
    (POOR, REFUSED | {"reason": "NO_ACCOUNT"}),
    (LAPSED, HELD),
    (LAPSED | {"cancel_reason": "RELEASED"}, RELEASED),
    (GIVEN_UP, REVERSED | {"currency": "USD"}),
    (ENDED, None),
    (ENDED, TAKEN),
    (ENDED, REVERSED),
    (ENDED_WITH_MONEY, TOMBSTONE),
    (None, TAKEN),
    (None, REFUSED),
]


@pytest.mark.parametrize(("order", "payment"), ALIKE)
def test_an_order_and_its_payment_may_tell_the_same_story(order: Told | None, payment: Told | None) -> None:
    assert order_problem(order, payment) is None


@pytest.mark.parametrize(("order", "payment"), UNLIKE)
def test_an_order_and_its_payment_may_not_contradict_each_other(order: Told | None, payment: Told | None) -> None:
    assert order_problem(order, payment)


ASKED: Told = {"status": "PENDING", "amount": 3}
DONE = ASKED | {"status": "SUCCEEDED"}
GIVEN: Told = {"status": "SUCCEEDED", "amount": 3, "settled": True}


@pytest.mark.parametrize(
    ("asked", "decided"),
    [(ASKED, None), (ASKED, GIVEN | YOUNG), (DONE, GIVEN), (DONE, GIVEN | YOUNG), (None, GIVEN | YOUNG)],
)
def test_a_refund_may_be_told_alike(asked: Told | None, decided: Told | None) -> None:
    assert refund_problem(asked, decided) is None


@pytest.mark.parametrize(
    ("asked", "decided"),
    [
        (ASKED, GIVEN),
        (ASKED, GIVEN | YOUNG | {"amount": 4}),
        (DONE, None),
        (DONE, GIVEN | {"status": "FAILED"}),
        (DONE | {"status": "FAILED"}, GIVEN),
        (None, GIVEN),
    ],
)
def test_a_refund_may_not_be_told_in_two_ways(asked: Told | None, decided: Told | None) -> None:
    assert refund_problem(asked, decided)


KNOWN: Told = {"name": "tea", "price": 5, "currency": "RUB", "is_active": True, "version": 2}
SOLD = KNOWN | {"settled": True}


@pytest.mark.parametrize(
    ("known", "product"), [(KNOWN, SOLD), (KNOWN, SOLD | YOUNG | {"price": 6, "version": 3}), (None, SOLD | YOUNG)]
)
def test_orders_may_know_a_product_as_it_is_or_was_a_moment_ago(known: Told | None, product: Told) -> None:
    assert product_problem(known, product) is None


@pytest.mark.parametrize(
    ("known", "product"),
    [
        (None, SOLD),
        (KNOWN, None),
        (KNOWN, SOLD | {"version": 3}),
        (KNOWN, SOLD | YOUNG | {"version": 1}),
        *((KNOWN, SOLD | YOUNG | other) for other in ({"name": "x"}, {"price": 6}, {"currency": "USD"})),
        (KNOWN, SOLD | YOUNG | {"is_active": False}),
    ],
)
def test_orders_may_not_know_a_product_in_another_way(known: Told | None, product: Told | None) -> None:
    assert product_problem(known, product)
