"""The cases of a sample, judged while its networks step through their layers."""
