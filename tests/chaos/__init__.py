"""Everything is killed once while people order and pay; afterwards no money may be lost or doubled. `make chaos`."""
