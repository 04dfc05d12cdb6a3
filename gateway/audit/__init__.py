"""The tamper-evident record of what was done for whom: intents before effects, results after.

Imports the store; must not know tools, models, HTTP or who calls it. An event that cannot be written raises
`AuditUnavailable`, and the caller then does nothing.
"""

from gateway.audit.chain import Entry, Head, SealKey, StoredEvent
from gateway.audit.errors import AuditUnavailable
from gateway.audit.events import CATALOGUE, EventKind, Role
from gateway.audit.export import export
from gateway.audit.log import AuditLog
from gateway.audit.query import Filter, find, related
from gateway.audit.verify import Problem, Report, verify_file, verify_store
from gateway.audit.writer import append, open_chain

__all__ = [
    "CATALOGUE",
    "AuditLog",
    "AuditUnavailable",
    "Entry",
    "EventKind",
    "Filter",
    "Head",
    "Problem",
    "Report",
    "Role",
    "SealKey",
    "StoredEvent",
    "append",
    "export",
    "find",
    "open_chain",
    "related",
    "verify_file",
    "verify_store",
]
