"""Networks loaded in ncnn, and what ncnn made of what was asked for."""
