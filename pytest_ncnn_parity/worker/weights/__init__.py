"""A network's files: checked before ncnn reads them, and their weights compared with those of others."""
