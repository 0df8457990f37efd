"""Tests of docs/clients.md, the packages that `make clients` makes, and docs/examples, as somebody uses them."""
