"""Structured logs: one JSON object a line on stderr, from structlog and the standard library alike.

Knows nothing of what is logged. Never log a body, a prompt or a credential: the audit log is the record.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import Processor

_STAMP: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.UnicodeDecoder(),
)

# Without locals: they hold requests and credentials.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))

_NOISY = ("httpx", "httpcore", "urllib3", "docker", "alembic")
"""Libraries whose `info` says one line per request; shown from `warning` up unless debugging."""


def configure_logging(level: str = "info", *, stream: TextIO | None = None, json: bool = True) -> None:
    """Send every log line of the process to `stream` (stderr). Calling it again replaces the former setup."""
    render: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=True, default=str)
        if json
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_STAMP,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _TRACEBACKS if json else structlog.processors.format_exc_info,
            render,
        ],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(threshold)
    quiet = threshold if threshold == logging.DEBUG else max(threshold, logging.WARNING)
    for name in _NOISY:
        logging.getLogger(name).setLevel(quiet)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_STAMP,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
