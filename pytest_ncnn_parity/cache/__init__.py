"""Verdicts of earlier runs, kept in a folder under a key of everything that can change them."""
