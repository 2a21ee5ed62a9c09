"""Sorting and grouping more rows than fit into memory: what is too much goes to temporary files, in order, and comes
back as a stream."""
