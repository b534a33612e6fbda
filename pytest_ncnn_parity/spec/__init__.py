"""A YAML spec: what it may hold, what that means, and a first spec for a model."""

SUFFIX = ".parity.yaml"  # the name of every spec ends with this
MISNAMED = ".parity.yml"  # the end of a name that would be overlooked, and is reported instead
