"""The local stack: every process of Gozon on one machine, and the `gozon` command."""
