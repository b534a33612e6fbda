"""The worker: a process of its own, started by a command, and the only part that imports ncnn."""
