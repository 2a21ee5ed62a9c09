"""The `photondb` command, the supervisor that runs the suite's processes, and how each of them lives and ends."""
