"""Networks that run elsewhere: in another ncnn, on another machine."""
