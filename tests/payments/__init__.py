"""Tests of Payments, layer by layer."""
