"""The play page in a real browser: keys and touch move the avatar, recordings go out and in."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sidle.ppcg import playable
from sidle.ppcg.play import recording as recordings
from sidle.ppcg.play.theatre import Show

pytest.importorskip("fastapi", reason="the extra 'play' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'play' is not installed")

from programs.serving import Served, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}
PATIENCE = 120_000  # milliseconds: nothing takes long, but a machine may have much else to do
PAPER = {"light": "rgb(251, 251, 249)", "dark": "rgb(21, 25, 29)"}

RULES = """# Corridor
# Walk to the key.
BasicGame
    SpriteSet
        wall > Immovable img=wall
        pit > Immovable img=hole
        key > Immovable img=key
        avatar > MovingAvatar img=hero
    InteractionSet
        avatar wall > stepBack
        key avatar > killSprite scoreChange=5
        avatar pit > killSprite scoreChange=-1
    TerminationSet
        SpriteCounter stype=key limit=0 win=True
        SpriteCounter stype=avatar limit=0 win=False
    LevelMapping
        w > wall
        p > pit
        k > key
        A > avatar
"""
LEVELS = "wwwwww\nwpA kw\nwwwwww\n\nwwwwwww\nwA   kw\nwwwwwww\n"


@dataclass
class Visit:
    """The page in a tab, with all that it said and asked for."""

    tab: Page
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def reach(self, state: str, tick: int | None = None) -> None:
        """Wait until the page has heard from the server and is in a state, at a tick."""
        at = "" if tick is None else f"[data-tick='{tick}']"
        self.tab.wait_for_selector(f"html[data-state={state}]{at}:not([data-busy])")

    def text(self, selector: str) -> str:
        """Return the visible text of an element, white space made single."""
        return " ".join(self.tab.locator(selector).inner_text().split())

    def press(self, key: str, tick: int, state: str = "running") -> None:
        """Press a key in the mode that waits for keys, and wait for its tick."""
        self.tab.keyboard.press(key)
        self.reach(state, tick)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = next(filter(None, map(shutil.which, names)), None)
    if executable is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is on the path")
    switches = (
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-sync",
        "disable-background-networking",
        "disable-component-update",
    )
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            args=[f"--{switch}" for switch in switches],
            timeout=PATIENCE,
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> playable.Playable:
    path = tmp_path_factory.mktemp("own") / "corridor.vgdl"
    path.write_text(RULES)
    path.with_suffix(".txt").write_text(LEVELS)
    return playable.find(path)


@pytest.fixture(scope="module")
def served(stage: playable.Playable) -> Iterator[Served]:
    with serving(Show(stage)) as found:
        yield found


def open_page(
    browser: Browser, served: Served, *, size: dict[str, int] = DESK, scheme: str = "light",
    touch: bool = False, state: str = "ready",
) -> Visit:  # fmt: skip
    context = browser.new_context(
        viewport=size,  # type: ignore[arg-type]
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
        has_touch=touch,
        accept_downloads=True,
    )
    context.set_default_timeout(PATIENCE)
    visit = Visit(context.new_page())
    visit.tab.on("console", lambda message: visit.console.append(message.text))
    visit.tab.on("pageerror", lambda error: visit.console.append(str(error)))
    context.on("request", lambda request: visit.requests.append(request.url))
    visit.tab.goto(served.url)
    visit.reach(state)
    return visit


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Visit]:
    visit = open_page(browser, served)
    yield visit
    assert visit.console == []
    assert all(url.startswith((served.url, "blob:http://127.0.0.1")) for url in visit.requests)
    visit.tab.context.close()


def avatar_column(visit: Visit) -> int:
    """Return the column of the second row of tiles where the hood's green is seen, or -1."""
    seen = visit.tab.evaluate(
        """() => {
          const canvas = document.getElementById("canvas");
          const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
          copy.drawImage(canvas, 0, 0);
          const { width, height, data } = copy.getImageData(0, 0, canvas.width, canvas.height);
          const tile = height / 3;
          const greens = new Array(Math.round(width / tile)).fill(0);
          for (let y = Math.floor(tile); y < 2 * tile; y += 1) {
            for (let x = 0; x < width; x += 1) {
              const [r, g, b] = data.slice(4 * (y * width + x), 4 * (y * width + x) + 3);
              if (g > 110 && g > r + 60 && g > b + 20) greens[Math.floor(x / tile)] += 1;
            }
          }
          return greens;
        }"""
    )
    return int(np.argmax(seen)) if max(seen) > 10 else -1


def frames(visit: Visit) -> None:
    """Wait until what the page knows has been drawn."""
    visit.tab.evaluate(
        "() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))"
    )


def test_arrows_and_letters_move_the_avatar_and_a_win_shows(visit: Visit) -> None:
    assert visit.text("h1") == "Corridor"
    visit.tab.get_by_label("Wait for me").check()
    frames(visit)
    assert avatar_column(visit) == 2
    visit.press("ArrowRight", 1)
    frames(visit)
    assert avatar_column(visit) == 3
    visit.press("a", 2)
    frames(visit)
    assert avatar_column(visit) == 2
    visit.press("d", 3)
    visit.press("ArrowRight", 4, state="over")
    assert visit.text("#word") == "Won"
    assert visit.text("#detail") == "Score 5 after 4 ticks"
    assert visit.text("#score") == "5"
    assert visit.text("[role=status]") == "won"


def test_a_loss_shows_and_the_level_can_be_tried_again(visit: Visit) -> None:
    visit.tab.get_by_label("Wait for me").check()
    visit.press("ArrowLeft", 1, state="over")
    assert visit.text("#word") == "Lost"
    assert visit.text("#score") == "−1"
    visit.tab.locator("#curtain").get_by_role("button", name="Again").click()
    visit.reach("ready", 0)
    assert visit.tab.locator("#curtain").is_hidden()
    frames(visit)
    assert avatar_column(visit) == 2


def test_the_clock_runs_when_it_is_started_and_stands_when_it_is_stopped(visit: Visit) -> None:
    visit.tab.locator("#speed").fill("30")
    visit.tab.keyboard.press("p")
    visit.tab.wait_for_selector("html:not([data-tick='0'], [data-tick='1'], [data-tick='2'])")
    visit.tab.keyboard.press("p")
    visit.reach("paused")
    tick = int(visit.text("#tick"))
    for _ in range(5):  # ten frames: at 30 ticks a second more than four ticks
        frames(visit)
    assert int(visit.text("#tick")) == tick
    visit.tab.keyboard.press(".")
    visit.reach("paused", tick + 1)


def test_a_key_that_is_held_moves_on(visit: Visit) -> None:
    # The state alone does not tell: it was "ready", at tick 0, in the level before as well.
    visit.tab.locator("#level").select_option("1")
    visit.tab.get_by_text("Level 2 of 2, made by hand").wait_for()
    visit.tab.keyboard.down("ArrowRight")
    visit.reach("over")
    visit.tab.keyboard.up("ArrowRight")
    assert visit.text("#word") == "Won"


def test_levels_follow_one_another_and_can_be_generated(visit: Visit) -> None:
    visit.tab.keyboard.press("n")
    visit.tab.get_by_text("Level 2 of 2, made by hand").wait_for()
    visit.tab.keyboard.press("n")
    visit.tab.get_by_text("Level 1 of 2, made by hand").wait_for()
    visit.tab.locator("#difficulty").fill("0.8")
    visit.tab.get_by_text("Generated at difficulty 0.80").wait_for()
    visit.reach("ready", 0)
    assert visit.text("#difficulty-value") == "0.80"


def test_difficulty_rises_on_a_win_and_falls_on_a_loss_if_asked_to(visit: Visit) -> None:
    visit.tab.get_by_label("Rise on a win").check()
    visit.tab.get_by_label("Wait for me").check()
    visit.tab.get_by_role("button", name="New level").click()
    visit.tab.get_by_text("Generated at difficulty 0.30").wait_for()
    visit.reach("ready", 0)
    # Whatever the level is, walking up and down its one row ends it: at the key or in the pit.
    for key in ("ArrowRight",) * 5 + ("ArrowLeft",) * 6:
        tick = int(visit.text("#tick"))
        visit.tab.keyboard.press(key)
        visit.tab.wait_for_selector(f"html[data-tick='{tick + 1}']:not([data-busy])")
        if visit.tab.locator("html[data-state=over]").count():
            break
    won = visit.text("#word") == "Won"
    assert visit.text("#difficulty-value") == ("0.35" if won else "0.25")


def test_a_recording_is_saved_and_replays_to_the_same_end(visit: Visit, tmp_path: Path) -> None:
    visit.tab.get_by_label("Wait for me").check()
    for tick, key in enumerate(("ArrowRight", "ArrowLeft", "ArrowRight"), start=1):
        visit.press(key, tick)
    visit.press("ArrowRight", 4, state="over")
    with visit.tab.expect_download() as download:
        visit.tab.get_by_role("button", name="Save").click()
    assert download.value.suggested_filename == "corridor-4-ticks-won.json"
    path = tmp_path / "recording.json"
    download.value.save_as(path)
    found = recordings.read(path)
    assert found.actions == (2, 1, 2, 2)
    assert recordings.replay(found).is_won
    visit.tab.locator("#speed").fill("30")
    visit.tab.locator("#watch").set_input_files(path)
    visit.tab.get_by_text("Recording of 4 ticks").wait_for()
    visit.reach("over", 4)
    assert visit.text("#word") == "Won"
    assert visit.text("#detail") == "The replay ended as recorded."


def test_recordings_that_were_changed_are_refused_with_the_reason(
    visit: Visit, tmp_path: Path
) -> None:
    visit.tab.get_by_label("Wait for me").check()
    visit.press("ArrowRight", 1)
    with visit.tab.expect_download() as download:
        visit.tab.get_by_role("button", name="Save").click()
    saved = json.loads(Path(download.value.path()).read_text())
    problem = visit.tab.get_by_role("alert")
    assert problem.is_hidden()
    path = tmp_path / "changed.json"
    path.write_text(json.dumps({**saved, "outcome": {**saved["outcome"], "score": 99}}))
    # The browser itself notes the refusal; nothing else may be said.
    with visit.tab.expect_console_message(lambda message: "status of 400" in message.text):
        visit.tab.locator("#watch").set_input_files(path)
    problem.wait_for()
    assert "recorded was 99" in problem.inner_text()
    path.write_text("no JSON")
    visit.tab.locator("#watch").set_input_files(path)
    visit.tab.get_by_text("changed.json is no recording").wait_for()
    assert len(visit.console) == 1
    visit.console.clear()


def test_what_is_asked_for_while_the_server_thinks_is_done_after_that(visit: Visit) -> None:
    visit.tab.get_by_label("Wait for me").check()
    held: list[Route] = []
    visit.tab.route("**/step", lambda route: held.append(route))
    with visit.tab.expect_request("**/step"):
        visit.tab.keyboard.press("ArrowRight")
    visit.tab.keyboard.press("n")
    visit.tab.wait_for_selector("html[data-busy][data-tick='0']")
    while not held:
        frames(visit)
    held[0].continue_()
    visit.tab.get_by_text("Level 2 of 2, made by hand").wait_for()
    visit.reach("ready", 0)


def test_space_on_a_button_presses_the_button_and_not_the_game(visit: Visit) -> None:
    visit.tab.get_by_role("button", name="Step").focus()
    visit.tab.keyboard.press("Space")
    visit.reach("paused", 1)


def test_an_agent_is_watched_and_the_player_may_take_over(
    browser: Browser, stage: playable.Playable
) -> None:
    with serving(Show(stage, policy=lambda planes: 2, agent="walker")) as served:
        visit = open_page(browser, served, state="over")
        assert visit.text("#word") == "Won"
        assert visit.tab.get_by_label("Let walker play").is_checked()
        visit.tab.get_by_label("Let walker play").uncheck()
        visit.tab.locator("#curtain").get_by_role("button", name="Again").click()
        visit.reach("ready", 0)
        visit.tab.get_by_label("Let walker play").check()
        visit.reach("over")
        assert visit.console == []
        visit.tab.context.close()


def test_a_recording_opened_from_the_command_line_is_watched(
    browser: Browser, stage: playable.Playable
) -> None:
    from sidle.ppcg.play import Episode

    episode = Episode(stage.game, stage.levels[0], 0)
    for action in (2, 1, 0):
        episode.step(action)
    found = recordings.record(episode)
    with serving(Show(stage, start={"recording": found.as_dict()})) as served:
        visit = open_page(browser, served, state="paused")
        visit.reach("paused", 3)
        visit.tab.get_by_text("replay ended as recorded").wait_for()
        visit.tab.context.close()


def test_fingers_play_too(browser: Browser, served: Served) -> None:
    visit = open_page(browser, served, size=PHONE, touch=True)
    pad = visit.tab.get_by_role("group", name="Touch controls")
    assert pad.get_by_role("button", name="Up").is_visible()
    assert pad.get_by_role("button", name="Use").is_hidden()  # this game has no such action
    visit.tab.get_by_label("Wait for me").check()
    right = pad.get_by_role("button", name="Right")
    right.tap()
    visit.reach("running", 1)
    right.tap()
    visit.reach("over", 2)
    assert visit.text("#word") == "Won"
    sides = [button.bounding_box() for button in pad.get_by_role("button").all()[:4]]
    assert min(side["height"] for side in sides if side) >= 44
    card, stage = (visit.tab.locator(name).bounding_box() for name in (".card", ".stage"))
    assert card
    assert stage
    assert stage["y"] <= card["y"]
    assert card["y"] + card["height"] <= stage["y"] + stage["height"]
    assert visit.console == []
    visit.tab.context.close()


def test_the_keyboard_alone_suffices_on_a_desk(visit: Visit) -> None:
    assert visit.tab.evaluate("document.activeElement.id") == "canvas"
    assert visit.tab.get_by_role("group", name="Touch controls").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_page_fits_its_window_and_follows_the_colour_scheme(
    browser: Browser, served: Served, scheme: str, size: dict[str, int]
) -> None:
    visit = open_page(browser, served, size=size, scheme=scheme)
    assert visit.tab.evaluate("document.documentElement.scrollWidth") == size["width"]
    background = visit.tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == PAPER[scheme]
    board = visit.tab.locator("#canvas").bounding_box()
    assert board
    assert board["width"] > 0.9 * min(size["width"], 6 * 64)
    assert board["y"] + board["height"] < size["height"]  # seen without scrolling
    used = visit.tab.locator(".pad" if size is PHONE else ".controls").bounding_box()
    assert used
    assert used["y"] + used["height"] < size["height"]
    visit.tab.context.close()


def test_a_high_board_leaves_room_for_its_buttons(browser: Browser) -> None:
    with serving(Show(playable.find("zelda"))) as served:
        visit = open_page(browser, served)
        buttons = visit.tab.locator(".controls").bounding_box()
        board = visit.tab.locator("#canvas").bounding_box()
        visit.tab.context.close()
    assert buttons
    assert board
    assert buttons["y"] + buttons["height"] < DESK["height"]
    assert board["height"] >= 0.5 * DESK["height"] - 9  # whole pixels of nine rows


def test_the_legend_names_what_is_seen(visit: Visit) -> None:
    assert visit.tab.locator("#legend li").all_inner_texts() == ["wall", "pit", "key", "avatar"]
    assert re.search("Level 1 of 2", visit.tab.locator("#canvas").get_attribute("aria-label") or "")
