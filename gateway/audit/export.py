"""The log as JSON lines: one event a line in canonical form, the sealed head as the last line."""

from __future__ import annotations

from typing import TextIO

import sqlalchemy as sa

from gateway.audit.chain import canonical_head
from gateway.audit.query import stream
from gateway.audit.writer import read_head
from gateway.store.engine import reading


def export(engine: sa.Engine, output: TextIO) -> int:
    """Write one consistent state of the log; the number of events. Damaged events are written as they are."""
    count = 0
    with reading(engine) as connection:
        for event in stream(connection):
            output.write(event.as_line().replace("\n", " ") + "\n")
            count += 1
        head = read_head(connection)
        if head is not None:
            output.write(canonical_head(head) + "\n")
    return count
