"""Says at the start which environment variables look like settings that were misspelt."""

from __future__ import annotations

import os
import sys

from photondb.config import misspelt_variables


def warn_of_misspelt_variables() -> None:
    """Name them on standard error. They are no reason not to start: another program may read them."""
    for name, meant in misspelt_variables(os.environ):
        print(f"photondb: {name} is no setting, and nothing reads it: is it meant to be {meant}?", file=sys.stderr)
