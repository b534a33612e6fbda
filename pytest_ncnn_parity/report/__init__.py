"""Results -> one document, and that as JSON, HTML and text. Measures and judges nothing."""
