"""Networks loaded in ncnn, and how they really run."""
