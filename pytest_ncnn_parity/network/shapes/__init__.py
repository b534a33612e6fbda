"""Shapes of blobs: what layers make of them, what inputs must have, and what may be fed. Pure."""
