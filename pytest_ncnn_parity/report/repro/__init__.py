"""Files that reproduce the fault of a red layer with ncnn alone."""
