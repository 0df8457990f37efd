"""`gozon check`: the audit of services/system, on the databases of this stack."""

from services.system.audit.check import Report, check_databases
from services.system.audit.rules import SCANS
from stack.home import Stack


async def check(stack: Stack, stuck_after: float) -> Report:
    """Checks everything; `stuck_after` is in seconds. Errors: kit.snapshot.AWAY."""
    return await check_databases({name: stack.superuser_url(name) for name in SCANS}, stuck_after)
