"""How services call each other: Cap'n Proto connections, contexts, errors; a stub and a servant for each service."""
