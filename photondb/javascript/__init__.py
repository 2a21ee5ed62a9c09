"""JavaScript for `r.js`: scripts run by QuickJS in worker processes that can be killed, one script at a time each."""

from photondb.javascript.pool import ArrayTooLong, Busy, JavaScriptError, Pool, TimedOut, WorkerCrashed

__all__ = ["ArrayTooLong", "Busy", "JavaScriptError", "Pool", "TimedOut", "WorkerCrashed"]
