"""Finds masks that fix red cases: searches for them, verifies them, and measures their cost."""
