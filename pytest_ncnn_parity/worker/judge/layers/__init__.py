"""Judges layers: each alone, or within the candidate's own run."""
