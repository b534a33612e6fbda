"""The parent's side of running networks: jobs, worker processes, their results and evidence."""
