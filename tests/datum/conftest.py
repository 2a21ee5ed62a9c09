from __future__ import annotations

from hypothesis import settings

# How long one example takes says nothing about the library on a machine that others use, too.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
