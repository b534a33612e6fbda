"""Reports as text: the terminal, one case, Markdown, GitHub, progress."""
