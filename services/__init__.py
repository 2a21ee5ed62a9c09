"""The five services of PhotonDB, each a package that `python -m services.<name>` starts alone, and the front, which is
two of them in one process."""
