"""What values lose in fp16: beyond its range, near 0, inside of layers, in constants."""
