"""Which release this is, as clients are told."""

from __future__ import annotations

from importlib.metadata import version

VERSION = version("photondb")

SERVER_VERSION = f"2.4.4-photondb-{VERSION}"
"""What drivers, and RethinkDB's tools, are told: the version of RethinkDB whose protocol and language this is, and
ours."""
