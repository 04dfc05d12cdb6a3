"""How an exchange with an upstream can fail on the wire. Must not know what the bytes mean."""

__all__ = ["ConnectionClosed", "WireError", "WireTimeout"]


class WireError(Exception):
    """No usable answer came: no connection, a reset, a truncated body, not HTTP, a head or line over its limit,
    or a request that cannot be put on the wire. `reason` is for logs and holds no secret."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class WireTimeout(WireError):
    """A bound on waiting was reached: for a free connection, for connecting, or for the next byte."""


class ConnectionClosed(WireError):
    """The other side closed or reset the connection before its answer was whole."""
