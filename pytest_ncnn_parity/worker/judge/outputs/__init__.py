"""Judges outputs of the whole network, and recorded ones."""
