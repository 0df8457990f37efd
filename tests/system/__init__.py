"""Tests of System, layer by layer."""
