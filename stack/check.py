"""`gozon check`: the audit of services/system, on the databases of this stack."""

from kit.snapshot import AWAY
from services.system.audit.check import Report, check_databases
from services.system.audit.rules import SCANS
from stack.home import Stack

# What `check` raises when a database can't be reached.
DATABASE_AWAY = AWAY


async def check(stack: Stack, stuck_after: float) -> Report:
    """Checks everything; `stuck_after` is in seconds. Raises DATABASE_AWAY when a database can't be read."""
    return await check_databases({name: stack.superuser_url(name) for name in SCANS}, stuck_after)
