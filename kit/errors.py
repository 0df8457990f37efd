"""The one error vocabulary. Grouped by what the caller can do about it; kit/rpc.py maps each group to a gRPC status.

    Error
    ├── InvalidArgument      change the request
    ├── Unauthenticated      get a (new) token
    ├── PermissionDenied     you may not do this
    ├── NotFound             it does not exist, or not for you
    ├── AlreadyExists        it exists already
    ├── FailedPrecondition   the state of things forbids it
    ├── Aborted              somebody else was faster: read it again
    ├── ResourceExhausted    slow down
    ├── DeadlineExceeded     it took too long; it may or may not have happened
    └── Unavailable          try again

A subclass is one reason; its docstring is the message that the client reads.
"""

from typing import ClassVar


class Error(Exception):
    """The request failed."""

    reason: ClassVar[str] = "INTERNAL"
    """UPPER_SNAKE reason of the google.rpc.ErrorInfo; part of the contract."""

    def __init__(
        self, message: str = "", *, violations: tuple[tuple[str, str], ...] = (), retry_after: int = 0
    ) -> None:
        """`violations` are pairs of field path and what is wrong with it, for google.rpc.BadRequest.

        `retry_after`: seconds after which the same request may succeed, for the header; 0 when nobody knows.
        """
        self.message = message or (self.__doc__ or "").strip()
        self.violations = violations
        self.headers = {"retry-after": str(retry_after)} if retry_after else {}
        super().__init__(self.message)


class InvalidArgument(Error):
    """The request is invalid."""

    reason = "INVALID_REQUEST"


class Unauthenticated(Error):
    """The access token is missing; get one with POST /token and send it as "authorization: Bearer <token>"."""

    reason = "MISSING_TOKEN"


class InvalidToken(Unauthenticated):
    """The access token is invalid or has expired; get a new one with POST /token."""

    reason = "INVALID_TOKEN"


class PermissionDenied(Error):
    """You may not do this; it is for administrators."""

    reason = "ADMIN_ONLY"


class WorkerOnly(PermissionDenied):
    """You may not do this; it is for background workers of ours."""

    reason = "WORKER_ONLY"


class NotFound(Error):
    """There is no such thing."""

    reason = "NOT_FOUND"


class UserNotFound(NotFound):
    """There is no such user, or it is not you."""

    reason = "USER_NOT_FOUND"


class AlreadyExists(Error):
    """It exists already."""

    reason = "ALREADY_EXISTS"


class FailedPrecondition(Error):
    """The state of things does not allow this."""

    reason = "FAILED_PRECONDITION"


class Aborted(Error):
    """Somebody else changed it in the meantime; read it again and repeat what still makes sense."""

    reason = "ABORTED"


class TransitionNotAllowed(FailedPrecondition):
    """The status does not allow this."""

    reason = "TRANSITION_NOT_ALLOWED"


class StaleEtag(Aborted):
    """It has changed since you read it (the etag is another now); read it again and repeat what still makes sense."""

    reason = "STALE_ETAG"


class ResourceExhausted(Error):
    """Too many requests wait already; try again in a moment."""

    reason = "OVERLOADED"


class DeadlineExceeded(Error):
    """This took too long and may or may not have happened; repeat it with the same idempotency-key."""

    reason = "DEADLINE_EXCEEDED"


class Unavailable(Error):
    """A part of the system does not answer; try again in a moment, with the same idempotency-key if you sent one."""

    reason = "UNAVAILABLE"


class InvalidPageToken(InvalidArgument):
    """The page_token is not one this method returned."""

    reason = "INVALID_PAGE_TOKEN"


class IdempotencyKeyRequired(InvalidArgument):
    """This method moves money: send a header idempotency-key, a new one for each intent, the same one for a retry."""

    reason = "IDEMPOTENCY_KEY_REQUIRED"


class IdempotencyKeyReused(AlreadyExists):
    """This idempotency-key was used with another request; use a new key for a new intent."""

    reason = "IDEMPOTENCY_KEY_REUSED"
