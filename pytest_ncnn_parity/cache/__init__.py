"""Verdicts of former runs, kept in a folder under everything that can change them."""
