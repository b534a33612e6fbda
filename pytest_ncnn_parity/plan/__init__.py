"""Which cases there are: a spec held against its network."""
