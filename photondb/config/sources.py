"""Where settings come from: command-line flags, environment variables, and files that these name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from photondb.config.errors import StartupError
from photondb.config.options import OPTIONS

PREFIX = "PHOTONDB_"
MIN_LIKENESS = 0.93
"""From where on the name of a variable is taken for a slip: a letter or two that are missing, wrong or too many."""


def read_values(flags: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Any]:
    """What is set, by field: in `flags` (by field name), else in the environment.

    An empty environment variable counts as unset, because compose files and unit files make those easily. A variable
    that is not set may be in a file, which the variable with `_FILE` behind its name has the path of: that is how
    containers are given secrets. Raises StartupError naming the flag or variable that is wrong.
    """
    values: dict[str, Any] = {}
    for option in OPTIONS:
        in_file = f"{option.variable}_FILE"
        if option.field in flags:
            source, text = option.flag or option.field, flags[option.field]
        elif environ.get(option.variable):
            source, text = option.variable, environ[option.variable]
        elif environ.get(in_file):
            source, text = f"what is in the file of {in_file}", _file_text(in_file, environ[in_file])
        else:
            continue
        try:
            values[option.field] = option.parse(text)
        except ValueError:
            shown = f", not {text!r}" if environ.get(in_file) is None else ""
            raise StartupError(f"{source} must be {option.expected}{shown}") from None
    return values


def misspelt_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables that nothing reads and that look much like a setting's, each with that one."""
    known = {name for option in OPTIONS for name in (option.variable, f"{option.variable}_FILE")}
    for name in environ:
        if name.startswith(PREFIX) and name not in known:
            yield from ((name, meant) for meant in difflib.get_close_matches(name, known, n=1, cutoff=MIN_LIKENESS))


def _file_text(variable: str, path: str) -> str:
    """The content of a file that a variable names, without the end of its last line. Raises StartupError."""
    try:
        return Path(path).read_text().removesuffix("\n")
    except OSError as error:
        raise StartupError(f"the file of {variable} cannot be read: {path}: {error.strerror}") from None
    except ValueError:
        raise StartupError(f"the file of {variable} is no text: {path}") from None
