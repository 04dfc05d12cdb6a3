"""What each upstream's error codes mean in the status codes of the Messages API: tables, nothing else."""

import re
from collections.abc import Mapping

__all__ = [
    "ACCOUNT_CODES",
    "ACCOUNT_WORDINGS",
    "CODE_STATUSES",
    "CREDENTIAL_CODES",
    "FILTER_CODES",
    "HTTP_STATUSES",
    "NO_ENDPOINT_WORDINGS",
    "REFUSED_TOKEN",
]

CODE_STATUSES: Mapping[str, int] = {
    # Databricks, and gRPC's names as Google uses them
    "bad_request": 400,
    "invalid_parameter_value": 400,
    "invalid_argument": 400,
    "malformed_request": 400,
    "failed_precondition": 400,
    "resource_does_not_exist": 404,
    "endpoint_not_found": 404,
    "not_found": 404,
    "request_limit_exceeded": 429,
    "resource_exhausted": 429,
    "too_many_requests": 429,
    "temporarily_unavailable": 529,
    "unavailable": 529,
    "internal_error": 500,
    "internal": 500,
    "deadline_exceeded": 504,
    # AWS
    "validationexception": 400,
    "resourcenotfoundexception": 404,
    "throttlingexception": 429,
    "servicequotaexceededexception": 429,
    "modelnotreadyexception": 529,
    "serviceunavailableexception": 529,
    "modeltimeoutexception": 504,
    "modelerrorexception": 500,
    "modelstreamerrorexception": 500,
    "internalserverexception": 500,
    # OpenAI and its like
    "context_length_exceeded": 400,
    "invalid_request_error": 400,
    "model_not_found": 404,
    "deploymentnotfound": 404,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "slow_down": 529,
    "server_is_overloaded": 529,
    "engine_overloaded": 529,
    "engine_overloaded_error": 529,
    "overloaded": 529,
    "overloaded_error": 529,
    "server_error": 500,
    "service_unavailable": 529,
    "unavailable_error": 529,
}
"""Lower-case code -> status. A known code counts for more than the HTTP status that it came with."""

HTTP_STATUSES: Mapping[int, int] = {
    408: 504,
    422: 400,  # what FastAPI servers (vLLM, Mistral) say for 400
    424: 500,  # Bedrock: the model failed
    503: 529,  # Databricks waking an endpoint, llama.cpp loading a model, any front door without a free server
    520: 502,
    521: 502,
    522: 504,
    523: 502,
    524: 504,
}
"""Statuses that the Messages API does not use -> the one that clients of it understand."""

CREDENTIAL_CODES = frozenset(
    {
        "permission_denied",
        "unauthenticated",
        "unauthorized",
        "invalid_token",
        "invalid_api_key",
        "authentication_error",
        "permission_error",
        "accessdeniedexception",
        "unrecognizedclientexception",
        "expiredtokenexception",
        "invalidsignatureexception",
        "customer_unauthorized",
    }
)
"""The gateway's own credential was refused: never the client's fault."""

ACCOUNT_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""The gateway's own account cannot be charged."""

ACCOUNT_WORDINGS: tuple[re.Pattern[str], ...] = (
    re.compile(r"(?i)credit balance is too low"),
    re.compile(r"(?i)exceeded your current quota, please check your plan and billing"),
)
"""The same without a code."""

FILTER_CODES = frozenset({"content_filter", "responsibleaipolicyviolation", "content_policy_violation"})
"""A content filter in front of the model objected."""

NO_ENDPOINT_WORDINGS: tuple[re.Pattern[str], ...] = (
    re.compile(r"(?i)path must be (?:of|in) (?:the )?form"),  # Databricks, count_tokens
    re.compile(r"(?i)no api found for"),
    re.compile(r"(?i)^\s*(?:404:?\s*)?(?:page |file |resource |route |url |path )?not found\.?\s*$"),
    re.compile(r"(?i)^\s*method not allowed\.?\s*$"),
)
"""A 404 that means the path, not the model."""

REFUSED_TOKEN: tuple[re.Pattern[str], ...] = (
    re.compile(r"(?i)\b(?:invalid|expired|revoked|malformed)\s+(?:access\s+|personal access\s+|oauth\s+)*token"),
    re.compile(r"(?i)\btoken\s+(?:is|has|was)\s+(?:been\s+)?(?:expired|invalid|revoked)"),
)
"""A 403 that means the token itself (Databricks), so that a fresh one may help."""
