"""Evidence and the cause it shows, in words. Runs nothing."""
