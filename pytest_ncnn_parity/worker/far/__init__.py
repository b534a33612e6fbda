"""Networks that run on declared workers: with another ncnn or on another machine."""
