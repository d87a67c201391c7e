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
TOO_LONG = {"description": "The address is longer than the web server reads", "content": {"text/html": {}}}
EMPTY = {"type": "string", "maxLength": 0}


def add_limits(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the answers 429 and 414 to every operation; a hook of drf-spectacular."""
    for path, operations in result["paths"].items():
        schema = "Error" if f"{path}/".startswith(PROTOCOL_PATHS) else "Detail"
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
        for operation in operations.values():
            operation["responses"] |= {"414": TOO_LONG, "429": {**TOO_MANY_REQUESTS, "content": content}}
    return result


def allow_empty_filters(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Say that a filter without a value is none, as forms send it; a hook of drf-spectacular."""
    for parameter in result["paths"]["/predictions/"]["get"]["parameters"]:
        schema = parameter["schema"]
        if set(schema) != {"type"} or schema["type"] != "string":
            parameter["schema"] = {"anyOf": [schema, EMPTY]}
    return result
