"""Tables spread over several storage nodes, seen as one: what is where, and who is asked for it."""
