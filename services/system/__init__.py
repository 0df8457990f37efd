"""Shows how the whole system is: processes, orders, what waits, dead letters, and whether the guarantees hold."""
