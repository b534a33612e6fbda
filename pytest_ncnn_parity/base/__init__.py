"""What every folder may use and what knows nothing of networks: errors, text, files, memory, signals."""
