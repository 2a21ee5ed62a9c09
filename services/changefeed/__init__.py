"""Live queries: it follows what storage commits, and tells each feed what changed for it."""
