"""The server over a real socket: who is let in, and what is answered."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sidle.errors import ArgumentError
from sidle.ppcg import playable

pytest.importorskip("fastapi", reason="the extra 'play' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'play' is not installed")

from programs.serving import TOKEN, Served, serving
from sidle.ppcg.play import recording as recordings
from sidle.ppcg.play import server
from sidle.ppcg.play.episode import Episode
from sidle.ppcg.play.guard import Guard
from sidle.ppcg.play.theatre import Show

HOST = (b"host", b"127.0.0.1:80")


def rightwards(planes: np.ndarray) -> int:
    assert planes.shape[0] == 1
    return 2


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Show(playable.find("zelda"), policy=rightwards, agent="right", seed=1)) as found:
        yield found


# Who is let in.


@pytest.mark.parametrize("path", ["/", "/game", "/play.js", "/style.css", "/atlas.png"])
def test_the_page_and_its_parts_are_served_below_the_token(served: Served, path: str) -> None:
    status, headers, content = served.ask(path)
    assert status == 200
    assert content
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper()])
@pytest.mark.parametrize("path", ["/", "/game", "/episodes"])
def test_without_the_token_nobody_is_let_in(served: Served, token: str, path: str) -> None:
    status, _, content = served.ask(path, token=token)
    assert status == 403
    assert b"token" in content
    assert TOKEN.encode() not in content


def test_the_token_alone_is_no_address(served: Served) -> None:
    assert served.ask("")[0] == 403
    assert served.ask("/nothing")[0] == 404


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}"]
)
def test_other_hosts_are_refused(served: Served, host: str) -> None:
    status, _, content = served.ask("/game", host=host.format(port=served.port))
    # Without any Host, HTTP/1.1 itself refuses.
    assert status == (400 if host == "" else 403)
    assert b"title" not in content


def test_a_request_for_two_hosts_is_refused() -> None:
    # Which of the two a server heeds is its own affair; the guard heeds neither.
    def status(n_hosts: int) -> int:
        sent: list[MutableMapping[str, Any]] = []

        async def welcome(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def keep(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        async def nothing() -> MutableMapping[str, Any]:
            return {}

        scope = {"type": "http", "path": f"/{TOKEN}/game", "headers": [HOST] * n_hosts}
        asyncio.run(Guard(welcome, token=TOKEN, port=80)(scope, nothing, keep))
        return int(sent[0]["status"])

    assert [status(n) for n in (0, 1, 2)] == [403, 200, 403]


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LocalHost:{port}"])
def test_the_loopback_address_is_let_in_by_its_names(served: Served, host: str) -> None:
    assert served.ask("/game", host=host.format(port=served.port))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Origin": "http://localhost:{port}"},  # not the host that was asked for
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("body", [None, {"level": 0}], ids=["get", "post"])
def test_requests_from_other_pages_are_refused(
    served: Served, headers: dict[str, str], body: object
) -> None:
    sent = {name: value.format(port=served.port) for name, value in headers.items()}
    path = "/game" if body is None else "/episodes"
    status, _, content = served.ask(path, body, headers=sent)
    assert status == 403
    assert b"its own page" in content


def test_the_pages_own_requests_are_let_in(served: Served) -> None:
    sent = {"Origin": f"http://127.0.0.1:{served.port}", "Sec-Fetch-Site": "same-origin"}
    assert served.ask("/episodes", {"level": 0}, headers=sent)[0] == 200
    assert served.ask("/", headers={"Sec-Fetch-Site": "none"})[0] == 200  # typed into the browser


def test_it_listens_on_loopback_only() -> None:
    with server.listen(0) as bound:
        assert bound.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_named() -> None:
    with server.listen(0) as bound:
        port = bound.getsockname()[1]
        with pytest.raises(ArgumentError, match=f"Port {port} .* Choose another"):
            server.listen(port)
    with pytest.raises(ArgumentError, match="Port 70000"):
        server.listen(70_000)


# What is answered.


def test_the_page_names_nothing_but_its_own_files(served: Served) -> None:
    page = served.ask("/")[2].decode()
    assert "<title>Zelda: sidle play</title>" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert "//" not in served.ask("/style.css")[2].decode()


def test_the_atlas_holds_every_picture_that_is_shown(served: Served) -> None:
    game = served.json("/game")
    atlas = Image.open(io.BytesIO(served.ask("/atlas.png")[2]))
    tile, columns = game["atlas"]["tile"], game["atlas"]["columns"]
    assert atlas.mode == "RGBA"
    assert atlas.width == tile * columns
    assert atlas.height // tile * columns >= game["pictures"] + 1
    pixels = np.asarray(atlas)
    shown = {sprite[0] for sprite in served.json("/episodes", {"level": 2})["sprites"]}
    for picture in [*shown, *(picture for picture, _ in game["legend"]), game["pictures"]]:
        row, column = divmod(picture, columns)
        part = pixels[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
        assert (part[..., 3] > 0).any(), picture


def test_the_game_is_described(served: Served) -> None:
    game = served.json("/game")
    assert game["title"] == "Zelda"
    assert game["levels"] == 5
    assert game["generates"] is True
    assert game["agent"] == "right"
    assert game["start"] == {"level": 0}
    names = [name for _, name in game["legend"]]
    assert "quick monster" in names
    assert "wall" in names


def test_an_episode_goes_tick_by_tick(served: Served) -> None:
    begun = served.json("/episodes", {"level": 0})
    assert (begun["tick"], begun["score"], begun["over"]) == (0, 0, False)
    assert (begun["height"], begun["width"]) == (9, 13)
    path = f"/episodes/{begun['id']}/step"
    after = served.json(path, {"tick": 0, "action": 1})
    assert after["tick"] == 1
    assert after["action"] == 1
    assert "Tick 1 is due, got 0" in served.complaint(path, {"tick": 0, "action": 1})
    assert served.json(path, {"tick": 1, "action": "agent"})["action"] == 2


def test_an_episode_can_be_recorded_watched_and_begun_again(served: Served) -> None:
    begun = served.json("/episodes", {"difficulty": 0.4})
    for tick in range(12):
        view = served.json(f"/episodes/{begun['id']}/step", {"tick": tick, "action": tick % 6})
        if view["over"]:
            break
    saved = served.json(f"/episodes/{begun['id']}/recording")
    recordings.replay(recordings.from_dict(saved))
    watched = served.json("/episodes", {"recording": saved})
    assert watched["replay"] == len(saved["actions"])
    path = f"/episodes/{watched['id']}/step"
    for tick in range(watched["replay"]):
        last = served.json(path, {"tick": tick, "action": "replay"})
    assert last["sprites"] == view["sprites"]
    assert last["score"] == view["score"]
    again = served.json("/episodes", {"again": watched["id"]})
    assert again["replay"] == watched["replay"]
    assert again["sprites"] == watched["sprites"]
    for tick in range(again["replay"]):
        repeated = served.json(f"/episodes/{again['id']}/step", {"tick": tick, "action": "replay"})
    assert repeated["sprites"] == view["sprites"]  # by the same chance
    fresh = served.json("/episodes", {"again": begun["id"]})
    assert fresh["replay"] is None
    assert fresh["sprites"] == begun["sprites"]
    if not view["over"]:
        assert "at its end" in served.complaint(path, {"tick": tick + 1, "action": "replay"})


def test_a_recording_that_was_changed_is_refused(served: Served) -> None:
    begun = served.json("/episodes", {"level": 1})
    served.json(f"/episodes/{begun['id']}/step", {"tick": 0, "action": 1})
    saved = served.json(f"/episodes/{begun['id']}/recording")
    saved["outcome"]["score"] = 100
    assert "recorded was 100" in served.complaint("/episodes", {"recording": saved})


def test_a_recording_of_another_game_says_how_to_watch_it(served: Served) -> None:
    stage = playable.find("frogs")
    saved = recordings.record(Episode(stage.game, stage.levels[0], 0)).as_dict()
    assert "sidle play FILE.json" in served.complaint("/episodes", {"recording": saved})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "one of level, difficulty, recording and again, got none"),
        ({"level": 0, "difficulty": 0}, "got difficulty, level"),
        ({"level": 5}, "numbered 0 to 4, got 5"),
        ({"level": -1}, "numbered 0 to 4, got -1"),
        ({"level": True}, "numbered 0 to 4"),
        ({"level": "0"}, "numbered 0 to 4"),
        ({"difficulty": 1.5}, r"must lie in \[0, 1\], got 1.5"),
        ({"difficulty": "high"}, "must be a number"),
        ({"difficulty": True}, "must be a number"),
        ({"recording": None}, "expected format"),
        ({"again": "none"}, "no longer kept"),
        ({"again": ["x"]}, "no longer kept"),
        ([1], "Expected a JSON object"),
        (b"{", "Expected a JSON object"),
        (b"[" * 100_000, "Expected a JSON object"),
        (b'{"difficulty": NaN}', "must be a number"),
    ],
)
def test_what_cannot_be_begun_is_explained(served: Served, body: object, message: str) -> None:
    assert re.search(message, served.complaint("/episodes", body))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"tick": 0, "action": 6}, "from 0 to 5"),
        ({"tick": 0, "action": -1}, "from 0 to 5"),
        ({"tick": 0, "action": True}, "whole number"),
        ({"tick": 0}, "whole number, got None"),
        ({"tick": 0, "action": "replay"}, "at its end"),
        ({"action": 0}, "Tick 0 is due, got None"),
    ],
)
def test_what_cannot_be_played_is_explained(served: Served, body: object, message: str) -> None:
    begun = served.json("/episodes", {"level": 0})
    assert message in served.complaint(f"/episodes/{begun['id']}/step", body)


def test_bodies_without_end_are_cut_off(served: Served) -> None:
    assert "may bring at most" in served.complaint("/episodes", b" " * (recordings.LARGEST + 1))


def test_old_episodes_are_forgotten(served: Served) -> None:
    first = served.json("/episodes", {"level": 0})
    for _ in range(40):
        served.json("/episodes", {"level": 0})
    path = f"/episodes/{first['id']}/recording"
    assert "no longer kept" in served.complaint(path)


def test_what_a_user_writes_is_shown_as_it_is(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    path = tmp_path / "mine.vgdl"
    path.write_text(
        f"# {hostile}\n# {hostile}\nBasicGame\n    SpriteSet\n        wall > Immovable\n"
        "        avatar > MovingAvatar\n    TerminationSet\n        Timeout limit=9 win=True\n"
        "    LevelMapping\n        A > avatar\n"
    )
    path.with_suffix(".txt").write_text("A  \n")
    with serving(Show(playable.find(path))) as served:
        page = served.ask("/")[2].decode()
        assert hostile not in page
        assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3
        assert json.loads(served.ask("/game")[2])["title"] == hostile
