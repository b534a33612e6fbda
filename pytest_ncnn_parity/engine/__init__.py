"""The only part that knows ncnn. `client` speaks for it in pytest; the rest lives in the worker."""
