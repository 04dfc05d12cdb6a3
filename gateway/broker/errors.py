"""What can go wrong between a caller and the broker. It must not know who asks."""

__all__ = ["BrokerUnavailable", "Refused"]


class Refused(Exception):
    """The broker said no, or the engine did; `reason` is stable, the message is for people.

    Reasons: bad_request, too_large, not_allowed, unknown_profile, workspace, missing_image, not_found,
    engine, busy, timeout.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class BrokerUnavailable(Exception):
    """The broker cannot be reached, went away in the middle, or did not answer in time."""
