"""Everything is killed and NATS and the broker lose their storage while people order, buy goods and are paid out; then
no money and no goods may be lost or doubled, and nobody may have seen goods from before what they were told.

`make chaos` runs it.
"""
