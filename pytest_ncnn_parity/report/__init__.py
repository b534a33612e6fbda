"""The report: one typed document, and how it is written as JSON, HTML and text. Judges nothing."""
