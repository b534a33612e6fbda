"""Reads the cause of a failure from its evidence, and puts both into words. Runs nothing."""
