"""What people do, from outside, through Envoy."""
