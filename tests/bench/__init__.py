"""The yardstick: settled orders per second beside what PostgreSQL itself can do. Run it with `make bench`."""
