"""What the suite tells its operators: for now, structured logs."""

from photondb.telemetry.logs import configure_logging

__all__ = ["configure_logging"]
