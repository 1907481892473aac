"""Frames against a slow blend, and what can be seen in them: places, order, facing, marks."""

import numpy as np
import pytest

from sidle.errors import ArgumentError
from sidle.ppcg import games, render, vgdl
from sidle.ppcg.engine import Engine
from sidle.ppcg.kernels import drawing
from sidle.ppcg.render import Renderer

RULES = """
BasicGame
    SpriteSet
        wall > Immovable img=wall
        gold > Resource limit=4 img=coin
        dart > Missile orientation=LEFT speed=0.3 img=arrow
        avatar > ShootAvatar stype=dart healthPoints=3 maxHealthPoints=4 img=hero
    InteractionSet
        gold avatar > collectResource
        avatar wall > stepBack
        avatar dart > subtractHealthPoints value=1
        avatar wall > addHealthPoints value=0
        dart wall > killSprite
        avatar gold > killIfHasLess resource=gold limit=-1
    TerminationSet
        SpriteCounter stype=avatar limit=0 win=False
    LevelMapping
        w > wall
        g > gold
        d > dart
        A > avatar
"""
ROWS = ("wwwwwww", "wAg  dw", "wg    w", "wwwwwww")


@pytest.fixture(scope="module")
def game():
    return vgdl.compile_game(RULES, name="small")


@pytest.fixture
def engine(game):
    engine = Engine(game, 1, height=4, width=7, seed=0, autoreset="disabled")
    engine.reset(game.level(ROWS))
    return engine


def slowly(frame, pictures, index, left, top):
    """Blend pixel after pixel, in exact fractions, halves up."""
    made = frame.copy()
    for picture, x0, y0 in zip(pictures[index], left, top, strict=True):
        for (row, column), alpha in np.ndenumerate(picture[..., 3]):
            y, x = y0 + row, x0 + column
            if 0 <= y < frame.shape[0] and 0 <= x < frame.shape[1]:
                for band in range(3):
                    new, old = int(picture[row, column, band]), int(made[y, x, band])
                    mixed = (new * int(alpha) + old * (255 - int(alpha))) / 255
                    made[y, x, band] = int(np.floor(mixed + 0.5))
    return made


def test_pictures_are_blended_one_after_the_other_and_cut_off_at_the_edge():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, 5, 5, 4), np.uint8)
    pictures[0, ..., 3] = 255
    frame = rng.integers(0, 256, (12, 9, 3), np.uint8)
    index = rng.integers(0, 3, 40)
    left, top = rng.integers(-6, 10, 40), rng.integers(-6, 13, 40)
    expected = slowly(frame, pictures, index, left, top)
    drawing.put_pictures(frame, pictures, index, left, top)
    assert (frame == expected).all()


def test_a_frame_has_ten_pixels_a_tile_or_as_many_as_asked(game, engine):
    for tile in (10, 32):
        assert Renderer(game, tile=tile).frame(engine.state(0), (4, 7)).shape == (
            4 * tile,
            7 * tile,
            3,
        )


def test_the_same_state_gives_the_same_frame_and_a_frame_is_the_callers_own(game, engine):
    one, other = Renderer(game, tile=16), Renderer(game, tile=16)
    frame = one.frame(engine.state(0), (4, 7))
    assert (frame == other.frame(engine.state(0), (4, 7))).all()
    frame[:] = 0
    assert one.frame(engine.state(0), (4, 7)).any()


@pytest.mark.parametrize("name", games.names())
def test_a_level_looks_as_its_first_state_does(name):
    built_in = games.load(name)
    game = vgdl.compile_game(built_in.rules, name=name)
    engine = Engine(game, 1, height=built_in.shape[0], width=built_in.shape[1], seed=0)
    renderer = Renderer(game, tile=10)
    level = game.level(built_in.grid(4))
    engine.reset(level)
    first = renderer.frame(engine.state(0), built_in.shape, status=False)
    assert (renderer.level(level) == first).all()


def test_sprites_stand_where_they_are_to_the_pixel(game, engine):
    renderer = Renderer(game, tile=20)
    number = game.types.index("dart")
    before = renderer.frame(engine.state(0), (4, 7), status=False)
    engine.step([0])  # in its first tick a missile only gets ready
    engine.step([0])
    after = renderer.frame(engine.state(0), (4, 7), status=False)
    x = next(x for name, x, *_ in engine.state(0)["sprites"] if name == "dart")
    assert x == 47  # five tiles less three pixels
    # Where the arrow is opaque, its pixels are found again three tenths of a tile to the left.
    opaque = renderer.atlas()[renderer.portrait(number)][..., 3] == 255
    assert opaque.sum() > 10
    rows, columns = np.nonzero(opaque)
    assert (after[20 + rows, 94 + columns] == before[20 + rows, 100 + columns]).all()


def test_types_defined_later_lie_on_top(game):
    renderer = Renderer(game, tile=12)
    sprites = [["avatar", 0, 0], ["wall", 0, 0]]
    there = renderer.frame({"sprites": sprites}, (1, 1))
    assert (there == renderer.frame({"sprites": sprites[::-1]}, (1, 1))).all()
    wall = renderer.frame({"sprites": [["wall", 0, 0]]}, (1, 1))
    opaque = renderer.atlas()[renderer.first(game.types.index("avatar"))][..., 3] == 255
    avatar = renderer.atlas()[renderer.first(game.types.index("avatar"))][..., :3]
    assert (there[opaque] == avatar[opaque]).all()
    clear = renderer.atlas()[renderer.first(game.types.index("avatar"))][..., 3] == 0
    assert (there[clear] == wall[clear]).all()


def test_walls_join_and_show_a_front_where_they_end(game):
    renderer = Renderer(game, tile=10)

    def shown(rows):
        found = renderer.sprites(render.opening(game, game.level(rows)))
        wall = renderer.first(game.types.index("wall"))
        return {(x // 10, y // 10): p - wall for p, x, y in found.tolist() if 0 <= p - wall < 16}

    rims = shown(["www   ", "www  A", "www   "])
    assert rims[1, 1] == 0
    assert rims[2, 1] == 2  # bordering on the right
    assert rims[0, 0] == 0  # beyond the level all is alike
    room = shown(["wwwwww", "w    w", "wA   w", "wwwwww"])
    assert {room[2, 0], room[2, 3]} == {4, 1}
    assert {room[0, 1], room[5, 1]} == {2, 8}
    assert room[5, 3] == 0
    alone = shown(["      ", " w    ", "     A"])
    assert alone == {(1, 1): 1 + 2 + 4 + 8}


def test_avatars_are_seen_from_where_they_face(game, engine):
    renderer = Renderer(game, tile=32)
    frames = {}
    for action in (1, 2, 3, 4):
        facing = [(-1, 0), (1, 0), (0, -1), (0, 1)][action - 1]
        state = {"sprites": [["avatar", 0, 0, {"ori": list(facing)}]]}
        frames[facing] = renderer.frame(state, (1, 1))
    for a in frames:
        for b in frames:
            assert (a == b) == bool((frames[a] == frames[b]).all())


def test_killed_avatars_are_gone(game):
    renderer = Renderer(game, tile=10)
    state = {"sprites": [["avatar", 0, 0, {"disabled": True, "hp": 1}]]}
    assert (renderer.frame(state, (1, 1)) == renderer.background()).all()


@pytest.mark.parametrize(("health", "pixels"), [(4, 20), (3, 15), (1, 5), (0, 0)])
def test_health_is_a_bar_along_the_avatars_tile(game, health, pixels):
    renderer = Renderer(game, tile=20)
    frame = renderer.frame({"sprites": [["avatar", 10, 0, {"hp": health}]]}, (1, 2))
    bar = frame[-1, 20:40]
    assert (bar == (88, 196, 128)).all(axis=1).sum() == pixels
    assert (frame[-1, :20] == renderer.background()[-1]).all()


def test_resources_are_written_in_digits_or_drawn_as_bars(game):
    def difference(tile, amount):
        renderer = Renderer(game, tile=tile)
        state = {"sprites": [["avatar", 10, 10, {"res": {"gold": amount}}]]}
        marked = renderer.frame(state, (3, 3))
        return marked, marked != renderer.frame(state, (3, 3), status=False)

    marks = [difference(32, amount)[0].tobytes() for amount in (1, 2, 10)]
    assert len(set(marks)) == 3
    for amount, pixels in ((1, 2), (2, 5), (4, 10)):  # of a limit of four, on a tile of ten
        _, changed = difference(10, amount)
        columns = np.flatnonzero(changed.any(axis=2)[10])
        assert columns.min() >= 10
        assert columns.max() < 10 + pixels
        assert len(columns) >= pixels - 1  # a pixel may have had that colour before
    assert not difference(10, 4)[1][11:].any()


def test_marks_of_an_avatar_at_the_edge_are_cut_off_there(game):
    renderer = Renderer(game, tile=32)

    def marks(y):
        state = {"sprites": [["avatar", 10, y, {"res": {"gold": 3}}]]}
        marked, plain = (renderer.frame(state, (3, 3), status=status) for status in (True, False))
        return (marked != plain).any(axis=2)

    inside, at_the_edge = marks(10), marks(0)
    assert inside[32 - 7 : 32].any()  # half of the plate stands above the tile
    assert (at_the_edge[:-32] == inside[32:]).all()
    assert not at_the_edge[-32:].any()


def test_a_sheet_places_frames_in_rows():
    frames = [np.full((20, 30, 3), value, np.uint8) for value in (0, 100, 200)]
    made = render.sheet(frames, 2)
    assert made.shape == (2 * 20 + 3 * 16, 2 * 30 + 3 * 16, 3)
    assert (made[16:36, 16:46] == 0).all()
    assert (made[16:36, 62:92] == 100).all()
    assert (made[52:72, 16:46] == 200).all()
    assert (made[52:72, 62:92] == made[0, 0]).all()
    captioned = render.sheet(frames, 2, captions=["a", "b", "c"])
    assert captioned.shape[0] == made.shape[0] + 2 * 24
    assert (captioned[36:60, 16:46] != made[0, 0]).any()


@pytest.mark.parametrize(
    ("frames", "columns", "captions"),
    [
        ([], 1, ()),
        ([np.zeros((2, 2, 3), np.uint8)], 0, ()),
        ([np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)], 2, ()),
        ([np.zeros((2, 2, 3), np.uint8)], 1, ("a", "b")),
    ],
)
def test_a_sheet_of_what_does_not_fit_is_refused(frames, columns, captions):
    with pytest.raises(ArgumentError, match="sheet"):
        render.sheet(frames, columns, captions=captions)


@pytest.mark.parametrize("tile", [0, 3, 129])
def test_tiles_too_small_or_too_large_are_refused(game, tile):
    with pytest.raises(ArgumentError, match=f"from 4 to 128 pixels, got {tile}"):
        Renderer(game, tile=tile)
