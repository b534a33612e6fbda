"""What every room may use, and what knows nothing of networks: errors, text, files, memory, signals."""
