"""The one error of the demo."""


class DemoFailed(Exception):
    """The demo cannot go on: one sentence that says what deviated, and the evidence after it."""
