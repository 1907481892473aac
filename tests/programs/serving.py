"""A play server on a real socket, and a client that says exactly what it is told to."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

from sidle.ppcg.play import server
from sidle.ppcg.play.theatre import Show

TOKEN = "a-token-for-tests"


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    port: int

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}/{TOKEN}/"

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        host: str | None = None,
        token: str = TOKEN,
        headers: dict[str, str] | None = None,
        method: str | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and content of one answer; ``body`` is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.putrequest(
            method or ("GET" if body is None else "POST"), f"/{token}{path}", skip_host=True
        )
        if host != "":
            connection.putheader("Host", host or f"127.0.0.1:{self.port}")
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if sent is not None:
            connection.putheader("Content-Length", str(len(sent)))
        connection.endheaders(sent)
        answer = connection.getresponse()
        found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def json(self, path: str, body: Any = None) -> Any:
        """Return the JSON of an answer that must be well."""
        status, _, content = self.ask(path, body)
        assert status == 200, content
        return json.loads(content)

    def complaint(self, path: str, body: Any = None) -> str:
        """Return the message of an answer that must be none."""
        status, _, content = self.ask(path, body)
        assert status == 400, content
        return str(json.loads(content)["error"])


def house() -> server.House:
    """Return what the page shares with the report."""
    templates = resources.files("sidle.report").joinpath("templates")
    style, masthead, icon = (
        templates.joinpath(name).read_text(encoding="utf-8")
        for name in ("style.css", "masthead.html.j2", "icon.html.j2")
    )
    return server.House(style=style, masthead=masthead, icon=icon)


@contextlib.contextmanager
def serving(show: Show) -> Iterator[Served]:
    """Serve ``show`` on a free port until the block ends."""
    bound = server.listen(0)
    port = bound.getsockname()[1]
    running = server.make_server(server.application(show, house(), token=TOKEN, port=port))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]})
    thread.start()
    while not running.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield Served(port)
    finally:
        running.should_exit = True
        thread.join()
        bound.close()
