"""The five services of PhotonDB, each a package that `python -m services.<name>` starts alone."""
