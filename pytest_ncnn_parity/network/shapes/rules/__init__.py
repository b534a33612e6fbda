"""Which shapes each operator takes, as ncnn's kernels read them. Pure: no numpy, no ncnn."""
