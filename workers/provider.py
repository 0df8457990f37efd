"""The payout provider: what Gozon needs of one, and the client of the one that stack/provider.py is.

A provider pays at most once for each key, the payout's id. Whatever is not a clear answer (a time-out, an error, half
an answer) leaves unknown whether it has paid: it is asked about the key before anything else happens.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import quote

import httpx
from google.protobuf import json_format

from gozon.payouts.v1.payouts_pb2 import Payout, Recipient
from workers.settings import WorkerSettings

MAX_TEXT = 200
"""Of a reason or reference; what is longer is cut."""
MAX_ANSWER_BYTES = 64 * 1024
"""Of an answer; what is longer is none."""
# Made once: that takes 20 ms of a core, and all the rest of a client a tenth of one.
_TLS = httpx.create_ssl_context(trust_env=False)


class OutcomeUnknown(Exception):
    """The provider may have done it, or not, or not yet: ask it by the key. The text tells nothing of the recipient."""


class Status(StrEnum):
    """What a provider says about a payout."""

    PAID = "PAID"
    DECLINED = "DECLINED"
    PENDING = "PENDING"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a provider has done about a key. PAID and DECLINED are for good."""

    status: Status
    reason: str = ""
    """Why it is DECLINED, in words for the user."""
    reference: str = ""
    """By what the provider knows it, once it is PAID."""


class PayoutProvider(Protocol):
    """What Gozon needs of a provider; an adapter of another one implements this."""

    def pay(self, payout: Payout, recipient: Recipient) -> Outcome:
        """Pays once for each payout.id, however often it is called, and says what became of it.

        Errors: OutcomeUnknown.
        """

    def find(self, payout_id: str) -> Outcome | None:
        """Returns what became of an earlier `pay`; None when the provider does not know this id.

        Errors: OutcomeUnknown.
        """


class HttpProvider:
    """The provider at a URL, with a bearer secret; its API is in docs/operations.md."""

    def __init__(self, url: str, secret: str, seconds: float) -> None:
        """`seconds` is how long it may take to connect, and between two pieces of an answer."""
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {secret}"}
        self._seconds = seconds

    def pay(self, payout: Payout, recipient: Recipient) -> Outcome:
        """See PayoutProvider."""
        body = {
            "amount": payout.amount,
            "currency": payout.currency,
            "recipient": json_format.MessageToDict(recipient, preserving_proto_field_name=True),
        }
        return _outcome(payout.id, self._request("POST", "/payouts", json=body, headers={"idempotency-key": payout.id}))

    def find(self, payout_id: str) -> Outcome | None:
        """See PayoutProvider."""
        response = self._request("GET", f"/payouts/{quote(payout_id, safe='')}")
        # By its body too: a proxy in front of the provider, or another server at its address, says 404 as well.
        if response.status_code == httpx.codes.NOT_FOUND and _json(response) == {"error": "no such key"}:
            return None
        return _outcome(payout_id, response)

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        # As it is: something small may be packed that is very large.
        headers = self._headers | {"accept-encoding": "identity"} | arguments.pop("headers", {})
        body = b""
        try:
            # A connection for each request: what a provider sends beyond its answer can't be taken for the next one.
            # No proxy, netrc or CA of the environment.
            with (
                httpx.Client(timeout=self._seconds, trust_env=False, verify=_TLS) as client,
                client.stream(method, f"{self._url}{path}", headers=headers, **arguments) as response,
            ):
                for piece in response.iter_raw():
                    body += piece
                    if len(body) > MAX_ANSWER_BYTES:
                        raise OutcomeUnknown("the answer is too long")
                return httpx.Response(response.status_code, content=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The type alone: the text might tell what was sent.
            raise OutcomeUnknown(type(error).__name__) from None


def provider_of(settings: WorkerSettings) -> PayoutProvider:
    """Returns the provider of this installation: the place to put another one."""
    return HttpProvider(settings.provider_url, settings.provider_secret.get_secret_value(), settings.provider_seconds)


def _outcome(payout_id: str, response: httpx.Response) -> Outcome:
    """Reads an answer about a payout; whatever is not clearly one of these leaves the outcome unknown."""
    match _json(response):
        case {"key": str(key), "status": str(status), "reason": str(reason), "reference": str(reference)} if (
            response.status_code == httpx.codes.OK and key == payout_id and status in tuple(Status)
        ):
            return Outcome(Status(status), _text(reason), _text(reference))
        case _:
            raise OutcomeUnknown(f"HTTP {response.status_code}")


def _text(text: str) -> str:
    """Returns what can be stored and shown of a text: an outcome must not fail for the words it comes with."""
    return "".join(character if character.isprintable() else " " for character in text[:MAX_TEXT])


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None
