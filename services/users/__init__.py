"""Users: who somebody is."""
