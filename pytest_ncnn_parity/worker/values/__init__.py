"""The values of a network: where they come from, and how long they are kept."""
