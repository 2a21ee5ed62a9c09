"""`photondb doctor`: looks at a running suite and its machine, and says what is wrong and what to do."""
