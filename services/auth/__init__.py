"""The auth service: who somebody is, and what they may do. It never sees a document of a user's table."""
