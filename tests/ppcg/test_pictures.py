"""The pen against arithmetic, and which picture is chosen for what."""

import itertools

import numpy as np
import pytest

from sidle.ppcg import games, pictures, vgdl
from sidle.ppcg.pictures import catalogue
from sidle.ppcg.pictures.pen import Pen, mixed


def compiled(sprites, extra=""):
    return vgdl.compile_game(
        f"""
BasicGame
    SpriteSet
{sprites}
        avatar > MovingAvatar img=frog
    TerminationSet
        SpriteCounter stype=avatar limit=0 win=False
    LevelMapping
        A > avatar
{extra}
"""
    )


def look_of(line, name="thing"):
    game = compiled(f"        {line}")
    return pictures.looks(game)[game.types.index(name)]


def test_looks_that_mean_nothing_are_named():
    game = compiled(
        "        food > Immovable img=aple color=RED\n"
        "            old > color=ROTTEN\n"
        "            older > color=ROTTEN img=oryx/unknown7\n"
        "        hidden > Immovable invisible=True img=nosuch\n"
        "        gem > Immovable img=gem color=LIGHTRED"
    )
    image, colour = pictures.oversights(game)
    assert image == "img=aple is no picture, drawn is 'apple'. Did you mean 'apple'?"
    assert colour.startswith("color=ROTTEN is no colour and has no effect. Known: GREEN, BLUE, RED")


@pytest.mark.parametrize("tile", [4, 10, 32, 33, 128])
def test_a_filled_tile_is_filled_to_the_edge(tile):
    pen = Pen()
    pen.fill("#2f7fc4")
    assert (pen.pixels(tile) == (0x2F, 0x7F, 0xC4, 255)).all()


def test_pixels_that_a_shape_covers_in_part_are_translucent_in_its_colour():
    pen = Pen()
    pen.box(0, 0, 0.375, 1, "#d9590f")
    made = pen.pixels(4)
    assert (made[:, 0] == (0xD9, 0x59, 0x0F, 255)).all()
    assert (made[:, 1] == (0xD9, 0x59, 0x0F, 128)).all()  # one half
    assert (made[:, 2:, 3] == 0).all()


def test_turning_agrees_with_geometry():
    def corner(facing):
        pen = Pen()
        pen.box(0.75, 0, 1, 0.25, "#ffffff")  # facing right: ahead, to the left hand
        pen.turn(facing)
        return tuple(np.argwhere(pen.pixels(4)[..., 3] == 255)[0].tolist())

    assert corner((1, 0)) == (0, 3)
    assert corner((0, -1)) == (0, 0)
    assert corner((0, 1)) == (3, 3)
    assert corner((-1, 0)) == (0, 0)  # mirrored, so that nothing lies on its back


def test_an_outline_surrounds_and_does_not_cover():
    pen = Pen()
    pen.disc(0.5, 0.5, 0.25, "#ffffff")
    plain = pen.pixels(64)
    pen.outline()
    made = pen.pixels(64)
    opaque = plain[..., 3] == 255
    assert (made[opaque] == plain[opaque]).all()
    ring = (plain[..., 3] == 0) & (made[..., 3] > 250)
    assert ring.sum() > 40
    assert made[ring][:, :3].max() < 60  # ink


def test_mixing_is_linear():
    assert mixed("#000000", "#ffffff", 0.5) == "#808080"
    assert mixed("#123456", "#ffffff", 0.0) == "#123456"


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_every_picture_can_be_drawn_and_shows_something(name):
    picture = pictures.PICTURES[name]
    look = pictures.Look(name, picture.colour)
    variants = [pictures.pixels(look, variant, 24) for variant in range(look.n_variants)]
    for made in variants:
        assert made.shape == (24, 24, 4)
        assert (made[..., 3] > 128).mean() > 0.03
    distinct = len({made.tobytes() for made in variants})
    assert distinct > 1 or look.n_variants == 1


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_every_picture_takes_the_colour_it_is_given(name):
    if name in {"bomb", "skeleton", "sword", "blade", "pick", "arrow"}:
        return  # iron and bone
    made = [
        pictures.pixels(pictures.Look(name, colour), 0, 16) for colour in ("#cf3030", "#2f5fc4")
    ]
    assert (made[0] != made[1]).any()


@pytest.mark.parametrize("name", games.names())
def test_every_image_named_by_a_built_in_game_is_known(name):
    game = vgdl.compile_game(games.load(name).rules, name=name)
    for kind, written in zip(game.types, game.parameters, strict=True):
        assert catalogue._picture_named(written["img"]) is not None, (kind, written["img"])


@pytest.mark.parametrize("name", games.names())
def test_no_two_types_of_a_built_in_game_look_alike_unless_they_share_their_image(name):
    game = vgdl.compile_game(games.load(name).rules, name=name)
    looks = pictures.looks(game)
    for a, b in itertools.combinations(range(len(looks)), 2):
        shared = game.parameters[a]["img"] == game.parameters[b]["img"]
        assert looks[a] != looks[b] or shared, (game.types[a], game.types[b])


@pytest.mark.parametrize(
    ("line", "name", "expected"),
    [
        ("thing > Immovable img=oryx/wall3", "thing", "wall"),
        ("thing > Immovable img=newset/whirlpool1.png", "thing", "portal"),
        ("thing > Immovable img=RedWall", "thing", "wall"),
        ("thing > Immovable img=nothing_known", "thing", "plain"),
        ("goldKey > Immovable", "goldKey", "key"),
        ("zombie2 > Chaser stype=avatar", "zombie2", "zombie"),
        ("thing > Chaser stype=avatar", "thing", "creature"),
        ("thing > Missile", "thing", "pointer"),
        ("thing > Resource", "thing", "token"),
        ("wallet > Resource", "wallet", "wall"),  # found inside the word, for want of better
        ("diamond > Immovable img=key", "diamond", "key"),  # images come before names
    ],
)
def test_pictures_are_found_by_words(line, name, expected):
    assert look_of(line, name).picture == expected


def test_names_of_parents_help_and_the_nearest_comes_first():
    game = compiled(
        """        animal > Passive
            wolf >
                grey >
            other >"""
    )
    looks = pictures.looks(game)
    assert looks[game.types.index("grey")].picture == "beast"
    assert looks[game.types.index("other")].picture == "chicken"


def test_a_colour_is_taken_by_its_name():
    assert look_of("thing > Immovable color=LIGHTBLUE").colour == "#8cc0ef"
    assert look_of("thing > Immovable color=NOSUCH").colour == pictures.PICTURES["plain"].colour


def test_invisible_sprites_are_not_shown():
    look = look_of("thing > Immovable invisible=True")
    assert look.picture is None
    assert not pictures.pixels(look, 0, 8).any()


def test_types_of_one_picture_get_colours_apart_unless_they_share_their_image():
    game = compiled(
        """        one > Immovable img=key1
        two > Immovable img=key2
        three > Immovable img=key2
        four > Immovable img=key3 color=GOLD
        five > Immovable img=key4 color=GOLD"""
    )
    colours = dict(zip(game.types, (look.colour for look in pictures.looks(game)), strict=True))
    one, two, three, four, five = (colours[n] for n in ("one", "two", "three", "four", "five"))
    assert one != two
    assert two == three
    assert four == five == "#e3b13a"  # asked for


def test_the_ground_follows_from_what_stands_on_it():
    def ground(image):
        return pictures.ground_of(
            pictures.looks(compiled(f"        x > Immovable img={image}"))
        ).picture

    # The frog that comes with every game here lives in the grass.
    assert ground("ship") == "space"
    assert ground("earth") == "cave"
    assert ground("wall") == "meadow"
    assert pictures.ground_of(()).picture == "floor"


# Viénot, Brettel and Mollon 1999, Digital video colourmaps for checking the legibility of displays
# by dichromats: what protanopes and deuteranopes see, in linear RGB.
DICHROMATS = {
    "protanope": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
    "deuteranope": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
}


def lab(linear):
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", DICHROMATS)
def test_the_palette_stays_apart_for_colour_blind_eyes(kind):
    seen = []
    for colour in catalogue.PALETTE:
        value = np.array(list(bytes.fromhex(colour[1:]))) / 255
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        seen.append(lab(np.clip(np.array(DICHROMATS[kind]) @ linear, 0, 1)))
    least = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
    assert least > 10  # about four times what is just noticeable side by side
