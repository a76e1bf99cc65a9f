"""A report in a file, for a change ticket: HTML, Markdown, or a recording to be played."""
