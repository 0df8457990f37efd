"""Payouts: each is paid by the payout provider, at most once, and ended as the provider says."""

import structlog
from celery.exceptions import SoftTimeLimitExceeded

from gozon.payouts.v1.payouts_pb2 import FinishPayoutRequest, Payout, StartPayoutRequest
from kit.errors import Unavailable
from workers import calls
from workers.app import GozonTask, TaskName, app
from workers.provider import OutcomeUnknown, Status, provider_of

MAX_RETRIES = 5
"""Half a minute. Then Payments asks again, later and later: what takes a provider days keeps nobody else waiting."""
ENDS = {Status.PAID: Payout.COMPLETED, Status.DECLINED: Payout.FAILED}

log = structlog.get_logger()


class NotPaidYet(Exception):
    """The provider has yet to pay it."""


NOT_ENDED = (NotPaidYet, OutcomeUnknown, SoftTimeLimitExceeded, Unavailable)


@app.task(name=TaskName.PAY_OUT, bind=True, autoretry_for=NOT_ENDED, max_retries=MAX_RETRIES)
def pay_out(self: GozonTask, payout_id: str, user_id: str) -> None:
    """Has the provider pay a payout and Payments end it. Does nothing about one that is canceled or has ended."""
    try:
        _pay_out(payout_id)
    except NOT_ENDED as error:
        if self.request.retries < MAX_RETRIES:
            raise
        log.warning("payout_left", payout_id=payout_id, user_id=user_id, error=repr(error))


def _pay_out(payout_id: str) -> None:
    services, provider = calls.services(), provider_of(calls.settings())
    started = services.call(services.payouts.StartPayout, StartPayoutRequest(payout_id=payout_id))
    if started.payout.status != Payout.PROCESSING:
        return
    # Whoever began it may have had it paid, or may be about to: then the same key is paid once.
    outcome = provider.find(payout_id) if started.begun_before else None
    outcome = outcome or provider.pay(started.payout, started.recipient)
    if outcome.status not in ENDS:
        raise NotPaidYet
    ended = FinishPayoutRequest(
        payout_id=payout_id,
        status=ENDS[outcome.status],
        failure_reason=outcome.reason,
        provider_reference=outcome.reference,
    )
    services.call(services.payouts.FinishPayout, ended)
    log.info("payout_ended", payout_id=payout_id, outcome=outcome.status)
