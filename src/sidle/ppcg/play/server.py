"""The play server: a page on a loopback port, and the few questions the page asks.

Needs the extra ``play``. All paths lie below the secret token (see `guard`):

    GET  /                      the page; style.css, play.js and atlas.png belong to it
    GET  /game                  the game, its pictures and what may be chosen
    POST /episodes              begin: {"level": i}, {"difficulty": d}, {"recording": {...}} or
                                {"again": id}
    POST /episodes/ID/step      one tick: {"tick": t, "action": a}, where a is a place in the
                                game's actions, "agent" or "replay"
    GET  /episodes/ID/recording

The page keeps the clock: a tick is played when it asks for it, and ``tick`` says which one it
means, so that no request can be taken for another. What is wrong is answered with status 400 and
{"error": message}.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import fastapi
import jinja2
import uvicorn
from markupsafe import Markup

from sidle import storage
from sidle.errors import ArgumentError, SidleError
from sidle.ppcg.play.guard import LOOPBACK, Guard
from sidle.ppcg.play.recording import LARGEST
from sidle.ppcg.play.theatre import Show, Theatre

_TEMPLATES = resources.files("sidle.ppcg.play").joinpath("templates")


@dataclass(frozen=True)
class House:
    """What the page shares with other pages of sidle: a style sheet, a masthead, an icon."""

    style: str
    masthead: str
    icon: str


def application(show: Show, house: House, *, token: str, port: int) -> Guard:
    """Return the guarded ASGI application.

    Args:
        show: what is to be played.
        house: how the page looks.
        token: the secret below which all paths lie.
        port: where it will be served.
    """
    theatre = Theatre(show)
    server = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for path, content, kind in (
        ("/", _page(show, house), "text/html"),
        ("/play.js", _template("play.js"), "text/javascript"),
        ("/style.css", house.style + _template("play.css"), "text/css"),
        ("/atlas.png", theatre.atlas(), "image/png"),
    ):
        server.add_api_route(path, _fixed(content, kind), response_model=None)

    @server.exception_handler(SidleError)
    async def explain(request: fastapi.Request, error: SidleError) -> fastapi.Response:
        return _json({"error": str(error)}, status=400)

    @server.get("/game", response_model=None)
    async def about() -> fastapi.Response:
        return _json(theatre.about())

    @server.post("/episodes", response_model=None)
    async def begin(request: fastapi.Request) -> fastapi.Response:
        return _json(theatre.begin(await _body(request)))

    @server.post("/episodes/{name}/step", response_model=None)
    async def step(name: str, request: fastapi.Request) -> fastapi.Response:
        return _json(theatre.step(name, await _body(request)))

    @server.get("/episodes/{name}/recording", response_model=None)
    async def recording(name: str) -> fastapi.Response:
        return _json(theatre.recording(name).as_dict())

    return Guard(server, token=token, port=port)


def listen(port: int) -> socket.socket:
    """Return a socket that listens on a loopback port, 0 for any that is free.

    Raises:
        ArgumentError: the port is taken, or may not be used.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((LOOPBACK, port))
        bound.listen()  # so that a browser may come before the server answers
    except (OSError, OverflowError) as error:
        bound.close()
        raise ArgumentError(
            f"Port {port} of {LOOPBACK} cannot be listened on: {error}. Choose another with "
            "--port, or 0 for any that is free."
        ) from error
    return bound


def make_server(guarded: Guard) -> uvicorn.Server:
    """Return a server for ``guarded``; `uvicorn.Server.run` with a bound socket starts it."""
    # `guarded` answers HTTP alone, whatever other protocols are installed.
    return uvicorn.Server(
        uvicorn.Config(
            guarded,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            http="h11",
            loop="asyncio",
            proxy_headers=False,
        )
    )


def _page(show: Show, house: House) -> str:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_template("play.html.j2"))
    return template.render(
        playable=show.playable,
        agent=show.agent if show.policy is not None else "",
        masthead=Markup(house.masthead),
        icon=Markup(house.icon),
    )


def _template(name: str) -> str:
    return _TEMPLATES.joinpath(name).read_text(encoding="utf-8")


def _fixed(content: str | bytes, kind: str) -> Callable[[], fastapi.Response]:
    def answer() -> fastapi.Response:
        return fastapi.Response(content, media_type=kind)

    return answer


def _json(value: Any, *, status: int = 200) -> fastapi.Response:
    return fastapi.Response(storage.to_json(value), status, media_type="application/json")


async def _body(request: fastapi.Request) -> dict[str, Any]:
    """Return the JSON object a request brings, at most `LARGEST` bytes of it."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST:
            raise ArgumentError(f"A request may bring at most {LARGEST} bytes.")
        parts.append(part)
    try:
        value = json.loads(b"".join(parts))
    except (ValueError, RecursionError) as error:
        raise ArgumentError("Expected a JSON object.") from error
    if not isinstance(value, dict):
        raise ArgumentError("Expected a JSON object.")
    return value
