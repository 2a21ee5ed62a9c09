"""What the suite is told from outside: command-line flags and environment variables, checked once at the start.

`options` lists what can be set, `values` says how its text is understood, `sources` where it comes from, and `settings`
is the outcome.
"""

from photondb.config.addresses import DEFAULT_ADDRESSES
from photondb.config.errors import StartupError
from photondb.config.options import OPTIONS, Option
from photondb.config.settings import Settings, default_of
from photondb.config.sources import misspelt_variables
from photondb.config.values import LogFormat, LogLevel, SamplerName

__all__ = [
    "DEFAULT_ADDRESSES",
    "OPTIONS",
    "LogFormat",
    "LogLevel",
    "Option",
    "SamplerName",
    "Settings",
    "StartupError",
    "default_of",
    "misspelt_variables",
]
