"""What the pages for people have in common: their frame, their style, charts, and data that may hold anything."""
