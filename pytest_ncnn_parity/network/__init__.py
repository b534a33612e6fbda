"""A .param file as text and as a graph: layers, shapes, masks, and what its values are. Runs nothing."""
