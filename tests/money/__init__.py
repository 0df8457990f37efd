"""Money under every operation, fault and sequence, in Orders and Payments together."""
