"""The tables, as migration 0001 and its successors leave them (a test compares the two).

Times of keys and sessions are UNIX seconds; times of audit events are the UTC text that was hashed; days of usage
are UTC dates (`2026-11-22`), its costs billionths of a US dollar.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("secret_hash", sa.LargeBinary, nullable=False),
    sa.Column("workspace", sa.Text),
    sa.Column("workspace_mode", sa.Text),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float),
    sa.Column("revoked_at", sa.Float),
    sa.Column("last_used_at", sa.Float),
    sa.Column("limits", sa.JSON(none_as_null=True)),
)

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("day", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("cache_read_tokens", sa.BigInteger, nullable=False),
    sa.Column("cache_write_tokens", sa.BigInteger, nullable=False),
    sa.Column("unpriced_tokens", sa.BigInteger, nullable=False),
    sa.Column("cost_nanos", sa.BigInteger, nullable=False),
    sa.Index(None, "subject", "day"),
)
"""No foreign key: what was used is told also when nothing else is known of the key."""

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, sa.ForeignKey("api_keys.id")),
    sa.Column("client_session", sa.Text),
    sa.Column("workspace", sa.JSON, nullable=False),
    sa.Column("driver", sa.Text, nullable=False),
    sa.Column("container", sa.Text),
    sa.Column("profile_digest", sa.Text),
    sa.Column("opened_at", sa.Float, nullable=False),
    sa.Column("last_used_at", sa.Float, nullable=False),
    sa.Column("closed_at", sa.Float),
    sa.Column("close_reason", sa.Text),
    sa.Index(None, "subject", "client_session"),
    sa.Index(None, "closed_at"),
)

audit_events = sa.Table(
    "audit_events",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("ts", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("session", sa.Text),
    sa.Column("principal", sa.Text),
    sa.Column("intent_seq", sa.Integer),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("prev_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Index(None, "session", "seq"),
    sa.Index(None, "kind", "seq"),
    sa.Index(None, "intent_seq"),
)

audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="single"), primary_key=True, autoincrement=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("mac", sa.Text, nullable=False),
    sa.CheckConstraint("id = 1", name="single"),
)
