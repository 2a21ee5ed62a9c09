"""Processes that are parts of the suite: how they are put together, reach each other, are watched, and end."""
