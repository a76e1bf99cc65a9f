"""Pure: what the console shows, as lines of inked text; nothing here knows a terminal."""
