"""Which cases there are, and whether a spec fits its network."""
