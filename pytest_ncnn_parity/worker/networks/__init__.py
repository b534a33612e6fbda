"""Networks loaded in ncnn, and how they actually run."""
