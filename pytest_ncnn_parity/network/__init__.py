"""A .param file as text and as a graph: layers, shapes, masks. Runs nothing."""
