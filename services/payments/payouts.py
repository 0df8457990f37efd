"""The rules of payouts, with no framework around them.

    PENDING ── START ──▶ PROCESSING ── COMPLETE ──▶ COMPLETED     what was held has left the account
                         PROCESSING ── FAIL ──▶ FAILED            it is available again
    PENDING ── CANCEL ──▶ CANCELED                                it is available again

Once a payout was begun its provider may have paid it: only what the provider says ends it then.
"""

from collections.abc import Mapping

from kit.errors import FailedPrecondition, InvalidArgument, NotFound, TransitionNotAllowed
from services.payments import ledger

PENDING = "PENDING"
PROCESSING = "PROCESSING"
COMPLETED = "COMPLETED"
FAILED = "FAILED"
CANCELED = "CANCELED"

START = "START"
COMPLETE = "COMPLETE"
FAIL = "FAIL"
CANCEL = "CANCEL"

TRANSITIONS: Mapping[str, tuple[str, str]] = {
    START: (PENDING, PROCESSING),
    COMPLETE: (PROCESSING, COMPLETED),
    FAIL: (PROCESSING, FAILED),
    CANCEL: (PENDING, CANCELED),
}
"""The state machine: for each step the status that allows it, and what that becomes."""

STEP_TO: Mapping[str, str] = {after: step for step, (_, after) in TRANSITIONS.items()}
"""The step that leads to a status; to PENDING none does."""

MOVES: Mapping[str, tuple[str, str]] = {
    COMPLETE: (ledger.PAYOUT, ledger.PAYOUTS),
    FAIL: (ledger.PAYOUT_RELEASE, ledger.AVAILABLE),
    CANCEL: (ledger.PAYOUT_RELEASE, ledger.AVAILABLE),
}
"""What ends a payout moves the money that is held for it: the kind of transaction, and where to."""

MAX_REASON = 200
"""Characters of why a payout failed."""
NO_REASON = "The provider gave no reason."


class PayoutNotFound(NotFound):
    """There is no such payout, or it is not yours."""

    reason = "PAYOUT_NOT_FOUND"


class PayoutLimit(FailedPrecondition):
    """This is more than one payout may be."""

    reason = "PAYOUT_LIMIT"


class RecipientMismatch(InvalidArgument):
    """The recipient's details are not those of its type."""

    reason = "RECIPIENT_MISMATCH"


class InvalidCard(InvalidArgument):
    """There can be no card with this number."""

    reason = "INVALID_CARD"


class InvalidIban(InvalidArgument):
    """There can be no bank account with this IBAN."""

    reason = "INVALID_IBAN"


class InvalidPhone(InvalidArgument):
    """There can be no such phone number."""

    reason = "INVALID_PHONE"


def require(step: str, status: str) -> str:
    """Returns what a status becomes by a step. Errors: TransitionNotAllowed."""
    before, after = TRANSITIONS[step]
    if status != before:
        raise TransitionNotAllowed(f"A payout that is {status} does not become {after}.")
    return after


def step_to(wanted: str, status: str) -> str | None:
    """Returns the step by which a status becomes another one; None when it is that already.

    Errors: TransitionNotAllowed.
    """
    if wanted == status:
        return None
    step = STEP_TO.get(wanted)
    if step is None:
        raise TransitionNotAllowed(f"A payout that is {status} does not become {wanted}.")
    require(step, status)
    return step
