"""Reports as text: for the terminal, for one case, as Markdown, for GitHub, and the progress line."""
