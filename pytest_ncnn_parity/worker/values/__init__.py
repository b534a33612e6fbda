"""The values in a network: where they come from and how long they are kept."""
