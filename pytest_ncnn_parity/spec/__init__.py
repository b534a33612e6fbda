"""A YAML spec: what may stand in it, what it means, and a first one for a model."""

SUFFIX = ".parity.yaml"  # what the name of every spec ends in
