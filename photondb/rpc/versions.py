"""Which version of the interfaces brought what a caller may only use where the other side has it, too.

Every service tells its version on a new connection (`ping`), so that the services of a suite may be replaced by newer
or older ones one after another, in any order. Methods and new fields of results need no entry here: who calls a method
that the other side does not have gets a clear error, and absent fields have their defaults. What needs one is a way to
ask that replaces an older way, and that the other side would take for a question without content. The older way must
stay: a caller falls back to it, and a service understands both.
"""

from __future__ import annotations

VERSION = 2
"""That of this program. It grows by one with whatever is added below."""

PACKED_KEYS = 2
"""`Storage.get` takes the keys in one piece, `packed`."""

CONSTANTS = 2
"""A statement of `Storage.write` may have a value, `constant`, in place of a function that gives it."""
