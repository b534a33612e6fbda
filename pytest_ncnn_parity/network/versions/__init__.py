"""Two versions of a network: which layers of one compute what layers of the other do. Pure."""
