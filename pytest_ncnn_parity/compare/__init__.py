"""Two arrays and a tolerance: setups and the pairs of them, metrics, tolerances, fp16's limits."""
