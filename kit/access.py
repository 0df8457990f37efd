"""Who may call a method: each service has one table with a rule for each of its RPCs (RULES in its api.py).

kit/rpc.py refuses to start with an RPC that has no rule, and applies the rule before the method is called.
"""

from dataclasses import dataclass

from google.protobuf.message import Message

from kit.auth import Identity
from kit.errors import Error, PermissionDenied, WorkerOnly
from kit.ids import canonical

ALL_USERS = "-"
"""What a request names instead of a user for the things of all of them (AIP-159), where its contract allows that."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call a method. The rules below are all there are."""

    needs_token: bool = True
    admin_only: bool = False
    worker_only: bool = False
    owner: str = ""
    """The field of the request that names the user whose things this is about; others than that user are refused."""
    not_yours: type[Error] | None = None
    """How: as if there were no such thing, so that nobody learns what exists."""

    def check(self, identity: Identity, request: Message) -> None:
        """Refuses a caller. Errors: PermissionDenied, WorkerOnly, `not_yours`."""
        if self.admin_only and not identity.is_admin:
            raise PermissionDenied
        if self.worker_only and not identity.is_worker:
            raise WorkerOnly
        named = getattr(request, self.owner) if self.owner else ""
        if self.not_yours and named and not identity.may_act_for(named if named == ALL_USERS else canonical(named)):
            raise self.not_yours


PUBLIC = Rule(needs_token=False)
"""Anybody, without a token."""
OWN = Rule()
"""Anybody with a token: the method does what it does to the caller's own things, whatever the request says."""
BY_ROW = Rule()
"""Anybody with a token: what the request names has an owner in its row, and the method compares."""
ADMIN = Rule(admin_only=True)
"""Administrators."""
WORKER = Rule(worker_only=True)
"""Our own background workers, and not even administrators."""


def owner(field: str, not_yours: type[Error]) -> Rule:
    """The user that `field` of the request names (a UUID), and administrators; all others get `not_yours`.

    ALL_USERS is for administrators alone.

    Where the contract lets the field be empty, it is for the method to take the caller.
    """
    return Rule(owner=field, not_yours=not_yours)
