"""Takes out of an upstream's words what belongs to the operator: secrets, addresses, account names.

Pure text in, text out; the patterns are data. Knows no error and no provider.
"""

import re
from typing import Any

__all__ = ["REMOVED", "for_client", "for_client_value", "for_log"]

REMOVED = "[removed]"
"""What stands where something was taken out."""

MAX_TEXT = 8 * 1024
"""Characters of a message that are passed on."""

_MAX_VALUES = 200

_GUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"

_SECRETS: tuple[re.Pattern[str], ...] = (
    re.compile(r"\bdapi[0-9a-fA-F*.]{4,}(?:-\d+)?"),  # Databricks personal token
    re.compile(r"\bdose[0-9a-fA-F]{16,}"),  # Databricks OAuth secret
    re.compile(r"\b(?:sk|rk|pk|gsk|xai|hf|nvapi|fw|r8|tgp_v1)[-_][A-Za-z0-9*._\-]{3,}"),  # also when half masked
    re.compile(r"\bAIza[A-Za-z0-9_*\-]{8,}"),
    re.compile(r"\b(?:AKIA|ASIA|ABSK)[A-Za-z0-9+/=]{12,}"),
    re.compile(r"\beyJ[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*)*"),  # JWT
    re.compile(r"(?i)\b(?:bearer|basic)[ :=]+[A-Za-z0-9+/=._~\-]{6,}"),
    re.compile(
        r"(?i)\b(?:(?:api|access|subscription)[-_ ]?key|(?:client[-_ ]?)?secret|password|access[-_ ]?token)"
        r"(?:[ ]+provided)?[ ]*[:=][ ]*[\"']?[^\s\"',;]+"
    ),
    re.compile(r"\b[0-9a-fA-F]{32,}\b"),  # Azure keys, digests
)
"""Things that open doors, whole or in part."""

_PLACES: tuple[re.Pattern[str], ...] = (
    re.compile(r"\barn:aws[\w-]*:[^\s\"',;)\]}]+"),
    re.compile(r"/?\bsubscriptions/[^\s\"',;)\]}]+"),  # Azure resource id
    re.compile(r"\bprojects/[^\s\"',;)\]}]+"),  # Google resource name
    re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b"),
    re.compile(r"\[[0-9a-fA-F]{0,4}(?::[0-9a-fA-F.]{0,15}){2,8}\](?::\d+)?"),
    re.compile(
        r"(?i)\b(?:[a-z0-9-]{1,63}\.){1,10}"
        r"(?:azuredatabricks\.net|databricks\.(?:com|azure\.cn|azure\.us)|databricksapps\.com|azure\.(?:com|us|cn)"
        r"|azure-api\.net|windows\.net|microsoftonline\.com|amazonaws\.com(?:\.cn)?|api\.aws|googleapis\.com|run\.app"
        r"|internal|intranet|local|localdomain|lan|corp|svc|cluster\.local)(?::\d+)?\b"
    ),
    re.compile(r"(?i)\blocalhost(?::\d+)?\b"),
    re.compile(
        r"(?i)\b(?:tenant|subscription|trace|correlation|request|account|organi[sz]ation|workspace|client|application"
        rf"|object|activity|deployment|resource)(?:[ _-]?id)?s?[ :=#'\"`(\[]*{_GUID}"
    ),
    re.compile(r"(?i)\b(?:workspace|account|org(?:anization)?|project|customer)(?:[ _-]?id)?[ :=#'\"`(]*\d{6,}\b"),
    re.compile(r"(?<![\d.])\d{12}(?![\d.])"),  # AWS account
    re.compile(r"\b(?:org|proj|req)[-_][A-Za-z0-9]{8,}\b"),
    re.compile(r"(?i)\brequest[ _-]?id[ :=#'\"`(]+[A-Za-z0-9_\-]{6,}"),
)
"""Where the upstream stands and whose account it is."""

_URL = re.compile(r"(?i)\b[a-z][a-z0-9+.-]{1,15}://[^\s\"'<>`)\]}]+")
_HOST = re.compile(r"(?i)^[a-z][a-z0-9+.-]*://(?:[^/@]*@)?([^/:?#]+)")
_PUBLIC_HOSTS = frozenset(
    {
        "aka.ms",
        "console.anthropic.com",
        "docs.anthropic.com",
        "docs.claude.com",
        "docs.databricks.com",
        "go.microsoft.com",
        "help.openai.com",
        "learn.microsoft.com",
        "platform.claude.com",
        "platform.openai.com",
        "support.anthropic.com",
        "support.claude.com",
    }
)
"""Vendors' documentation, the same for everybody: an address there explains an error and gives nothing away."""

_STACK = re.compile(r"Traceback \(most recent call last\)|\n\s+at [\w.$<>]+\(|\bFile \"[^\"]+\", line \d+")
_INNARDS = "The upstream model service failed with an internal error."


def for_log(text: str) -> str:
    """Without secrets; addresses stay, they are the operator's own."""
    for pattern in _SECRETS:
        text = pattern.sub(REMOVED, text)
    return text[:MAX_TEXT]


def for_client(text: str) -> str:
    """Without secrets, addresses, account and request ids; at most `MAX_TEXT` characters.

    A text with none of these is returned as it is: clients match wording to heal themselves. A stack trace
    becomes one sentence.
    """
    text = text[: 2 * MAX_TEXT]
    if _STACK.search(text):
        return _INNARDS
    kept: list[str] = []

    def set_aside(found: re.Match[str]) -> str:
        host = _HOST.match(found[0])
        if host is None or host[1].lower() not in _PUBLIC_HOSTS or "?" in found[0]:
            return REMOVED
        kept.append(found[0])
        return f"\0{len(kept) - 1}\0"

    text = _URL.sub(set_aside, text.replace("\0", ""))
    text = for_log(text)
    for pattern in _PLACES:
        text = pattern.sub(REMOVED, text)
    return re.sub("\0(\\d+)\0", lambda at: kept[int(at[1])], text)[:MAX_TEXT]


def for_client_value(value: Any) -> Any:
    """`for_client` on every string of a JSON value; lists and objects are cut at 200 entries, depth at 4."""
    return _value(value, 4)


def _value(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return for_client(value)
    if not isinstance(value, list | dict):
        return value
    if depth == 0:
        return None
    if isinstance(value, list):
        return [_value(item, depth - 1) for item in value[:_MAX_VALUES]]
    return {for_client(str(name)): _value(item, depth - 1) for name, item in list(value.items())[:_MAX_VALUES]}
