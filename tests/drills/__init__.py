"""Drills: what operators do to a running system, done under load. Each proves that no order is lost or doubled."""
