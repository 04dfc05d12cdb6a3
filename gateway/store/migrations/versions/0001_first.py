"""Keys, sessions, the audit log and its sealed head."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
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
    )
    op.create_table(
        "sessions",
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
    )
    op.create_index("ix_sessions_subject_client_session", "sessions", ["subject", "client_session"])
    op.create_index("ix_sessions_closed_at", "sessions", ["closed_at"])
    op.create_table(
        "audit_events",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("ts", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("session", sa.Text),
        sa.Column("principal", sa.Text),
        sa.Column("intent_seq", sa.Integer),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("prev_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    op.create_index("ix_audit_events_session_seq", "audit_events", ["session", "seq"])
    op.create_index("ix_audit_events_kind_seq", "audit_events", ["kind", "seq"])
    op.create_index("ix_audit_events_intent_seq", "audit_events", ["intent_seq"])
    op.create_table(
        "audit_head",
        sa.Column(
            "id",
            sa.Integer,
            sa.CheckConstraint("id = 1", name="single"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("mac", sa.Text, nullable=False),
    )
