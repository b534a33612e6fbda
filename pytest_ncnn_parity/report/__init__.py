"""Results -> text, terminal and JSON. Nothing is computed here."""
