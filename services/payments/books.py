"""The rules of Payments, with no framework around them: who can pay, and what may become of a payment.

    (nothing) ── charge ──▶ CAPTURED | FAILED        with capture MANUAL: AUTHORIZED | FAILED
    AUTHORIZED ── capture ──▶ CAPTURED               what is not taken is available again
    AUTHORIZED ── release, or too long ──▶ RELEASED
    (nothing) | AUTHORIZED | CAPTURED ── reversal ──▶ REVERSED
    CAPTURED ── refund ──▶ CAPTURED                  with more `refunded`

What an admin held is nobody's payment until the order charges for it. Then it is the order's if it is of the same
amount and currency; otherwise it is given back, captured or not: RELEASED.

Whatever else is asked changes nothing, and is answered with what is.
"""

from collections.abc import Iterable
from datetime import datetime

from services.payments import ledger
from services.payments.domain import (
    ADMIN,
    AUTHORIZED,
    CAPTURED,
    CURRENCY_MISMATCH,
    FAILED,
    HOLD_MISMATCH,
    INSUFFICIENT_FUNDS,
    NO_ACCOUNT,
    ORDERS,
    RELEASED,
    REVERSED,
    SUCCEEDED,
    AccountNotFound,
    BalanceLimit,
    CaptureRequest,
    CaptureTooLarge,
    ChargeRequest,
    CurrencyMismatch,
    DepositLimit,
    HoldNotFound,
    HoldRequest,
    InsufficientFunds,
    Limits,
    Payment,
    PaymentExists,
    Refund,
    RefundRequest,
    ReleaseRequest,
    Request,
    ReversalRequest,
)
from services.payments.ledger import AVAILABLE, FUNDING, HELD, REVENUE, Account, Transaction
from services.payments.payouts import MOVES, PayoutLimit

Key = tuple[str, str]
"""The user's and the order's id."""


class Books:
    """Accounts, payments and refunds, locked in one database transaction; decides, and books what was decided."""

    def __init__(
        self,
        accounts: Iterable[Account],
        payments: Iterable[Payment],
        refunds: Iterable[Refund],
        now: datetime,
        limits: Limits,
    ) -> None:
        self.accounts = {account.user_id: account for account in accounts}
        self.before: dict[Key, Payment] = {(payment.user_id, payment.order_id): payment for payment in payments}
        """The payments as they were."""
        self.payments = dict(self.before)
        self.refunds = {(refund.user_id, refund.order_id, refund.refund_id): refund for refund in refunds}
        self.transactions: list[Transaction] = []
        self.new_refunds: list[Refund] = []
        self._now = now
        self._limits = limits

    def apply(self, request: Request) -> Payment | Refund:
        """Does what is asked, unless it was done or can't be, and returns what is.

        Errors: HoldNotFound; CaptureTooLarge; those of a HoldRequest are AccountNotFound, CurrencyMismatch,
        InsufficientFunds, PaymentExists.
        """
        match request:
            case ChargeRequest():
                return self._charge(request)
            case ReversalRequest():
                return self._reverse(request)
            case RefundRequest():
                return self._refund(request)
            case HoldRequest():
                return self._hold(request)
            case CaptureRequest():
                return self._capture(request)
            case ReleaseRequest():
                return self._release(request)

    def deposit(self, user_id: str, amount: int, currency: str) -> Account:
        """Books money that came in. Errors: AccountNotFound, CurrencyMismatch, DepositLimit, BalanceLimit."""
        account = self._account(user_id, currency)
        if amount > self._limits.max_deposit:
            raise DepositLimit(f"One deposit may be {self._limits.max_deposit:,} minor units at most.")
        if account.balance + amount > self._limits.max_balance:
            raise BalanceLimit(f"The balance may be {self._limits.max_balance:,} minor units at most.")
        self._book(account, ledger.DEPOSIT, None, {FUNDING: -amount, AVAILABLE: amount})
        return account

    def hold_payout(self, user_id: str, payout_id: str, amount: int, currency: str) -> Account:
        """Holds money for a payout. Errors: AccountNotFound, CurrencyMismatch, PayoutLimit, InsufficientFunds."""
        account = self._account(user_id, currency)
        if amount > self._limits.max_payout:
            raise PayoutLimit(f"One payout may be {self._limits.max_payout:,} minor units at most.")
        if account.available < amount:
            raise InsufficientFunds
        self._book(account, ledger.PAYOUT_HOLD, None, {AVAILABLE: -amount, HELD: amount}, payout_id)
        return account

    def end_payout(self, user_id: str, payout_id: str, amount: int, step: str) -> None:
        """Moves what is held for a payout to where it ends: COMPLETE, FAIL or CANCEL."""
        kind, to = MOVES[step]
        self._book(self.accounts[user_id], kind, None, {HELD: -amount, to: amount}, payout_id)

    def buy(self, user_id: str, purchase_id: str, amount: int, currency: str) -> None:
        """Takes the money for a purchase. Errors: AccountNotFound, CurrencyMismatch, InsufficientFunds."""
        account = self._account(user_id, currency)
        if account.available < amount:
            raise InsufficientFunds
        moved = {AVAILABLE: -amount, REVENUE: amount}
        self._book(account, ledger.PURCHASE, None, moved, purchase_id=purchase_id)

    def moved(self) -> list[Account]:
        """Returns the accounts whose money was moved, or is held otherwise, as they are now; each once."""
        return [self.accounts[user_id] for user_id in dict.fromkeys(t.user_id for t in self.transactions)]

    def changed(self, payment: Payment) -> bool:
        """Says whether a payment is another than before."""
        return self.before.get((payment.user_id, payment.order_id)) is not payment

    def _charge(self, request: ChargeRequest) -> Payment:
        if (decided := self.payments.get((request.user_id, request.order_id))) is not None:
            return self._adopt(decided, request) if decided.requested_by == ADMIN else decided
        account = self.accounts.get(request.user_id)
        if account is None:
            return self._new(request, FAILED, reason=NO_ACCOUNT)
        if account.currency != request.currency:
            return self._new(request, FAILED, reason=CURRENCY_MISMATCH)
        if account.available < request.amount:
            return self._new(request, FAILED, reason=INSUFFICIENT_FUNDS)
        if request.manual:
            return self._authorize(account, request.order_id, request.amount, ORDERS)
        self._book(account, ledger.CHARGE, request.order_id, {AVAILABLE: -request.amount, REVENUE: request.amount})
        return self._new(request, CAPTURED, captured=request.amount)

    def _adopt(self, hold: Payment, request: ChargeRequest) -> Payment:
        """Makes what an admin held the payment of its order; gives it back if it is not of the order's price."""
        if hold.status not in (AUTHORIZED, CAPTURED):
            return hold
        if (hold.amount, hold.currency) != (request.amount, request.currency):
            return self._give_back(hold, RELEASED, HOLD_MISMATCH)
        payment = self._put(hold._replace(requested_by=ORDERS, updated_at=self._now))
        if payment.status == AUTHORIZED and not request.manual:
            return self._take(payment, payment.amount)
        return payment

    def _authorize(self, account: Account, order_id: str, amount: int, requested_by: str) -> Payment:
        self._book(account, ledger.HOLD, order_id, {AVAILABLE: -amount, HELD: amount})
        request = ChargeRequest(account.user_id, order_id, amount, account.currency)
        expires_at = self._now + self._limits.hold_lifetime
        return self._new(request, AUTHORIZED, requested_by=requested_by, expires_at=expires_at)

    def _hold(self, request: HoldRequest) -> Payment:
        account = self._account(request.user_id, request.currency)
        if (first := self.payments.get((request.user_id, request.order_id))) is not None:
            if first.expires_at is None or first.amount != request.amount:
                raise PaymentExists
            return first
        if account.available < request.amount:
            raise InsufficientFunds
        return self._authorize(account, request.order_id, request.amount, ADMIN)

    def _capture(self, request: CaptureRequest) -> Payment:
        payment = self._held(request)
        if payment.status != AUTHORIZED:
            return payment
        taken = request.amount or payment.amount
        if taken > payment.amount:
            raise CaptureTooLarge(f"{payment.amount} minor units are held for the order.")
        return self._take(payment, taken)

    def _take(self, payment: Payment, amount: int) -> Payment:
        moved = {HELD: -payment.amount, REVENUE: amount, AVAILABLE: payment.amount - amount}
        self._book(self.accounts[payment.user_id], ledger.CAPTURE, payment.order_id, moved)
        return self._put(payment._replace(status=CAPTURED, captured=amount, updated_at=self._now))

    def _release(self, request: ReleaseRequest) -> Payment:
        payment = self._held(request)
        if payment.status != AUTHORIZED:
            return payment
        return self._give_back(payment, RELEASED, request.reason)

    def _reverse(self, request: ReversalRequest) -> Payment:
        payment = self.payments.get((request.user_id, request.order_id))
        if payment is None:
            # A tombstone: the request for the money, which is still on its way, will find it.
            return self._new(request, REVERSED)
        if payment.status not in (AUTHORIZED, CAPTURED):
            return payment
        return self._give_back(payment, REVERSED)

    def _give_back(self, payment: Payment, status: str, reason: str = "") -> Payment:
        """Ends a payment with everything that is held or left of what was taken available again."""
        if payment.status == AUTHORIZED:
            moved = {HELD: -payment.amount, AVAILABLE: payment.amount}
            self._book(self.accounts[payment.user_id], ledger.RELEASE, payment.order_id, moved)
        elif left := payment.captured - payment.refunded:
            self._book_refund(payment, left)
        return self._put(
            payment._replace(status=status, reason=reason, refunded=payment.captured, updated_at=self._now)
        )

    def _refund(self, request: RefundRequest) -> Refund:
        key = request.user_id, request.order_id, request.refund_id
        if (decided := self.refunds.get(key)) is not None:
            return decided
        payment = self.payments.get((request.user_id, request.order_id))
        if payment is None:
            raise HoldNotFound(f"Nothing was ever paid for the order {request.order_id}.")
        status, refunded = FAILED, payment.refunded
        if payment.status == CAPTURED and refunded + request.amount <= payment.captured:
            self._book_refund(payment, request.amount)
            status, refunded = SUCCEEDED, refunded + request.amount
            self._put(payment._replace(refunded=refunded, updated_at=self._now))
        refund = Refund(
            payment.user_id, payment.order_id, request.refund_id, request.amount, status, refunded, self._now
        )
        self.refunds[key] = refund
        self.new_refunds.append(refund)
        return refund

    def _account(self, user_id: str, currency: str) -> Account:
        account = self.accounts.get(user_id)
        if account is None:
            raise AccountNotFound
        if currency and account.currency != currency:
            raise CurrencyMismatch(f"The account is in {account.currency}.")
        return account

    def _held(self, request: CaptureRequest | ReleaseRequest) -> Payment:
        payment = self.payments.get((request.user_id, request.order_id))
        if payment is None or payment.expires_at is None:
            raise HoldNotFound
        return payment

    def _book_refund(self, payment: Payment, amount: int) -> None:
        moved = {REVENUE: -amount, AVAILABLE: amount}
        self._book(self.accounts[payment.user_id], ledger.REFUND, payment.order_id, moved)

    def _book(
        self,
        account: Account,
        kind: str,
        order_id: str | None,
        entries: dict[str, int],
        payout_id: str | None = None,
        purchase_id: str | None = None,
    ) -> None:
        booked = ledger.book(account, kind, order_id, entries, self._now, payout_id, purchase_id)
        self.transactions.append(booked)

    def _new(
        self,
        request: ChargeRequest | ReversalRequest,
        status: str,
        *,
        reason: str = "",
        captured: int = 0,
        requested_by: str = ORDERS,
        expires_at: datetime | None = None,
    ) -> Payment:
        payment = Payment(
            request.user_id,
            request.order_id,
            status,
            reason,
            request.amount,
            request.currency,
            captured,
            0,
            requested_by,
            expires_at,
            self._now,
            self._now,
        )
        return self._put(payment)

    def _put(self, payment: Payment) -> Payment:
        self.payments[payment.user_id, payment.order_id] = payment
        return payment
