"""What is raised when the suite cannot start as it was told to."""

from __future__ import annotations


class StartupError(Exception):
    """The suite or a service cannot start for a reason that its operator can mend.

    The message is one line that names the cause and the remedy. It is shown as it is, without a traceback.
    """
