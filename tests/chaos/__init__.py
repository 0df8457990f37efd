"""Everything is killed and NATS and the broker lose their storage while people shop and are paid out; then no money may
be lost or doubled.

`make chaos` runs it.
"""
