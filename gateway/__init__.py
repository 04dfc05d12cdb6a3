"""Bulkhead: a sandbox gateway for Claude Code and every Messages API client."""

__version__ = "0.1.0"
