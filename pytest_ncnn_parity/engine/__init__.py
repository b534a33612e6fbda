"""The parent's side of running networks: jobs, worker processes, and their results with the evidence."""
