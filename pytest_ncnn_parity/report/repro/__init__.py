"""A red layer as files that show its fault with ncnn alone."""
