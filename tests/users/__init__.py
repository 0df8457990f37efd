"""Tests of Users, layer by layer."""
