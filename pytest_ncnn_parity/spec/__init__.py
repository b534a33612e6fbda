"""A YAML spec: what may stand in it, what it means, and a first one for a model."""
