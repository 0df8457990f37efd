"""The audit: what Gozon guarantees, as rules over the databases, and the check that finds who breaks one."""
