"""Tests of Orders, layer by layer."""
