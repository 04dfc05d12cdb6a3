"""The one error of the audit log."""

from __future__ import annotations


class AuditUnavailable(Exception):
    """The log cannot be written or trusted now, so the effect it should precede must not happen."""


_CAUSES = (
    ("full", "the disk that holds it is full; make room there"),
    ("readonly", "its database is read-only; make the file and its directory writable for the gateway"),
    ("locked", "another process holds its database; end that process"),
    ("malformed", "its database is damaged; restore it from a backup"),
    ("not a database", "its file is not a database; restore it from a backup"),
    ("unable to open", "its file cannot be opened; check that the data directory exists and is writable"),
)


def unavailable(error: Exception) -> AuditUnavailable:
    """Say in one sentence why a write failed, and what helps."""
    if isinstance(error, AuditUnavailable):
        return error
    reason = str(getattr(error, "orig", None) or error)
    help_ = next((text for mark, text in _CAUSES if mark in reason), reason)
    return AuditUnavailable(f"the audit log cannot be written: {help_}")
