"""How networks are run and compared: setups, comparisons, metrics, tolerances, limits of the formats."""
