"""What every error looks like over REST, whoever made it."""

from typing import Any

import httpx


def assert_error(answer: httpx.Response, status: int, code: int, reason: str) -> str:
    """Checks the one JSON shape of errors and returns the message, which says nothing about the inside."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body: dict[str, Any] = answer.json()
    assert set(body) == {"code", "message", "details"}
    assert body["code"] == code
    info = body["details"][0]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert (info["reason"], info["domain"]) == (reason, "gozon"), answer.text
    assert body["message"]
    for inside in ("upstream", "127.0.0.1", "envoy", "Traceback", "<class"):
        assert inside not in body["message"]
    for header in ("server", "grpc-status", "grpc-message", "x-http-code"):
        assert header not in answer.headers
    assert not [name for name in answer.headers if name.startswith("x-envoy")]
    return str(body["message"])
