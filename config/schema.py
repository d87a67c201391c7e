"""What is true of every operation of the API, and so is said in the OpenAPI document once."""

from typing import Any

from config.errors import PROTOCOL_PATHS

INTEGER = {"schema": {"type": "integer"}}
TOO_MANY_REQUESTS = {
    "description": "Too many requests from this user, token or address",
    "headers": {
        "Retry-After": {**INTEGER, "description": "Seconds to wait"},
        "RateLimit-Limit": {**INTEGER, "description": "Requests in a window; in every answer that a rate applies to"},
        "RateLimit-Remaining": {**INTEGER, "description": "Those left in this window"},
        "RateLimit-Reset": {**INTEGER, "description": "Seconds to the next window"},
    },
}


def add_limits(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the answer 429 to every operation; a hook of drf-spectacular."""
    for path, operations in result["paths"].items():
        schema = "Error" if f"{path}/".startswith(PROTOCOL_PATHS) else "Detail"
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
        for operation in operations.values():
            operation["responses"]["429"] = {**TOO_MANY_REQUESTS, "content": content}
    return result
