"""Payments: the money of users, as a double-entry ledger."""
