"""Requests to servers elsewhere, for `r.http`: what may be reached, and what comes back."""

from photondb.outbound.client import Answer, HttpError, Request, perform

__all__ = ["Answer", "HttpError", "Request", "perform"]
