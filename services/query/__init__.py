"""The query service: it compiles, plans and runs queries, and keeps their cursors."""
