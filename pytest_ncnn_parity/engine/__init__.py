"""The parent's side of the engine: starts workers, asks them, outlives their deaths."""
