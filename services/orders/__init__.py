"""Orders: what somebody wants to buy, and what became of it."""
