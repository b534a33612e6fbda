"""Judges the cases of a sample while its networks step through their layers."""
