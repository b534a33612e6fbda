"""The worker process, the only part that imports ncnn. It is started by a command."""
