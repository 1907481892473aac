"""Keeps everybody out of the play server but the page it opened itself.

Other programs and pages on the same machine can reach a loopback port. A request is let through
only if its path begins with the secret token; if its Host is the loopback address asked for (a
foreign name that was made to point to 127.0.0.1 is refused); and if a browser that says where the
request comes from names this very page.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = "127.0.0.1"
NAMES = (LOOPBACK, "localhost")
"""What a browser on this machine may call it."""

_HEADERS = (
    (b"content-security-policy",
     b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
     b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)  # fmt: skip


class Guard:
    """An ASGI application in front of another one.

    Args:
        application: what is guarded; it sees paths without the token.
        token: the secret, the first part of every path.
        port: where the server listens.
    """

    def __init__(self, application: Application, *, token: str, port: int) -> None:
        self._application, self._token = application, token
        self._hosts = {f"{name}:{port}" for name in NAMES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request or refuse it."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        reason = self._reason_to_refuse(scope)
        if reason is not None:
            await _refuse(send, reason)
            return

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
            await send(message)

        path = scope["path"].split("/", 2)[2]
        await self._application(
            {**scope, "path": f"/{path}", "raw_path": None}, receive, send_guarded
        )

    def _reason_to_refuse(self, scope: Scope) -> str | None:
        headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value.decode("latin-1"))
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return "This server answers to its loopback address only."
        origins = {f"http://{hosts[0].lower()}"}
        if any(origin.lower() not in origins for origin in headers.get(b"origin", [])):
            return "This server answers its own page only."
        if any(site not in ("same-origin", "none") for site in headers.get(b"sec-fetch-site", [])):
            return "This server answers its own page only."
        parts = scope["path"].split("/", 2)
        if len(parts) < 3 or not secrets.compare_digest(parts[1].encode(), self._token.encode()):
            return "The address lacks the token that `sidle play` printed."
        return None


async def _refuse(send: Send, reason: str) -> None:
    body = reason.encode()
    length = (b"content-length", str(len(body)).encode())
    plain = (b"content-type", b"text/plain; charset=utf-8")
    await send(
        {"type": "http.response.start", "status": 403, "headers": [length, plain, *_HEADERS]}
    )
    await send({"type": "http.response.body", "body": body})
