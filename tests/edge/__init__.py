"""Tests of the edge: edge/envoy.yaml in a real Envoy."""
