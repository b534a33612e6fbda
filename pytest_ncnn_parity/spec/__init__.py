"""A YAML spec: what it may hold, what that means, and a first spec for a model."""

SUFFIX = ".parity.yaml"  # the name of every spec ends with this
