"""Everything is killed once and NATS loses its storage while people shop; then no money may be lost or doubled.

`make chaos` runs it.
"""
