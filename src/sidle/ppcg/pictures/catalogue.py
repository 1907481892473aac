"""Which picture shows which sprite type, in which colour.

A picture is found by words: those of ``img=`` first (``img=oryx/wall3`` holds the word wall),
then those of the type's name, of its parents' names, and at last by what its class does.
``color=`` names a colour. Types of different ``img=`` that would look alike get
colours apart.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from sidle.ppcg.pictures import creatures, ground, things, vehicles
from sidle.ppcg.pictures.pen import Pen
from sidle.ppcg.vgdl import Game

Draw = Callable[[Pen, str, tuple[int, int]], None]
DrawGround = Callable[[Pen, str, tuple[bool, bool, bool, bool]], None]

FACINGS = ((0, 0), (0, -1), (1, 0), (0, 1), (-1, 0))
"""Directions a picture may face; (0, 0) is none."""

PALETTE = ("#2f7fc4", "#d9590f", "#1c9e77", "#f2b632", "#a3469c", "#6fb7e8", "#8a5a34", "#e58fb4")
"""Colours that stay apart for colour-blind eyes, by hue or by lightness."""

_BLUE, _VERMILION, _GREEN, _GOLD, _PURPLE, _SKY, _BROWN, _PINK = PALETTE


@dataclass(frozen=True)
class Picture:
    """How something is drawn.

    Attributes:
        draw: of a thing, told where it faces.
        draw_ground: of what fills its tile, told which sides border on something else.
        colour: its own, #rrggbb.
        faces: whether it looks different by where it faces.
        joins: whether it looks different by what it borders on.
        words: other words for it, in names and images.
    """

    colour: str
    words: str
    draw: Draw | None = None
    draw_ground: DrawGround | None = None
    faces: bool = False
    joins: bool = False
    outlined: bool = True

    @property
    def n_variants(self) -> int:
        """How many pictures there are of it: by facing, or by the 16 sets of sides."""
        return 16 if self.joins else len(FACINGS) if self.faces else 1


def _thing(draw: Draw, colour: str, words: str = "", *, outlined: bool = True) -> Picture:
    return Picture(colour, words, draw=draw, outlined=outlined)


def _facing(draw: Draw, colour: str, words: str = "") -> Picture:
    return Picture(colour, words, draw=draw, faces=True)


def _ground(draw: DrawGround, colour: str, words: str = "", *, joins: bool = True) -> Picture:
    return Picture(colour, words, draw_ground=draw, joins=joins, outlined=False)


def _upright(draw: DrawGround, colour: str, words: str = "") -> Picture:
    return Picture(colour, words, draw_ground=draw)


PICTURES: Mapping[str, Picture] = MappingProxyType(
    {
        # What fills its tile.
        "floor": _ground(ground.floor, "#e9e4d8", "ground tile background empty path", joins=False),
        "meadow": _ground(ground.meadow, "#c4d59b", "grass lawn field garden", joins=False),
        "space": _ground(ground.space, "#161d2b", "sky night", joins=False),
        "cave": _ground(ground.cave, "#4a3d35", "tunnel", joins=False),
        "sea": _ground(ground.sea, "#7fb6d9", "ocean", joins=False),
        "sand": _ground(ground.sand, "#e6d3a3", "desert beach", joins=False),
        "snow": _ground(ground.snow, "#cfe5f2", "ice frost slide"),
        "wall": _ground(ground.wall, "#97a1aa", "walls border edge limit"),
        "rock": _ground(ground.rock, "#7a7f86", "mountain cliff"),
        "bulkhead": _ground(ground.bulkhead, "#73808c", "metal steel hull"),
        "hedge": _ground(ground.hedge, "#4f8a4b", "bush bushes forest"),
        "earth": _ground(ground.earth, "#8d6a48", "dirt soil mud sandbag"),
        "street": _ground(ground.street, "#596169", "road asphalt lane"),
        "water": _ground(ground.water, "#3b86c6", "river lake pool drown"),
        "lava": _ground(ground.lava, "#d1481a", "magma acid poison deadly"),
        "brick": _ground(ground.brick, "#b5653f", "bricks breakable barrier block"),
        "bridge": _ground(ground.bridge, "#b5854f", "plank planks dock", joins=False),
        "plate": _ground(ground.plate, _GREEN, "target button switch mark slot pad", joins=False),
        "plain": _ground(ground.plain, "#8b96a0"),
        "tree": _upright(ground.tree, "#3f8a58", "trees pine"),
        "spikes": _upright(ground.spikes, "#aeb8c1", "trap traps spike thorn thorns"),
        "hole": _upright(ground.hole, "#8a8276", "pit abyss gap"),
        "ladder": _upright(ground.ladder, "#a8703c", "stairs stair climb"),
        "fence": _upright(ground.fence, "#c9a06a", "pen corral"),
        # Things.
        "exit": _thing(things.door, "#a8703c", "door doors escape"),
        "gate": _thing(things.gate, "#8b96a0", "lock bars grate"),
        "goal": _thing(things.goal, _VERMILION, "flag finish home"),
        "portal": _thing(things.portal, _PURPLE, "teleport entry warp whirlpool vortex"),
        "key": _thing(things.key, _GOLD, "keys"),
        "gem": _thing(things.gem, "#2ea3c9", "diamond diamonds gems jewel ruby crystal blib"),
        "orb": _thing(things.orb, _VERMILION, "powered power energizer powerup"),
        "coin": _thing(things.coin, _GOLD, "coins gold money treasure score nugget"),
        "chest": _thing(things.chest, "#a8703c", "loot"),
        "crate": _thing(things.crate, "#c48a4e", "box boxes crates pushable"),
        "boulder": _thing(things.boulder, "#9aa3ab", "stone stones boulders asteroid"),
        "ball": _thing(things.ball, _VERMILION, "balls"),
        "bomb": _thing(things.bomb, "#39434c", "bombs mine mines dynamite grenade"),
        "flame": _thing(things.flame, "#e8641b", "fire flames fires burning"),
        "blast": _thing(things.blast, _VERMILION, "explosion explode boom"),
        "heart": _thing(things.heart, "#d6324a", "health life medkit medicine lives heal"),
        "potion": _thing(things.potion, _PURPLE, "elixir flask drink vial serum"),
        "apple": _thing(things.apple, "#d0342c", "fruit food cherry carrot meat berry honey"),
        "cheese": _thing(things.cheese, _GOLD, "crumb"),
        "pellet": _thing(things.pellet, _GOLD, "pill dot seed seeds corn grain"),
        "flower": _thing(things.flower, _PINK, "plant flowers rose bloom sprout"),
        "mushroom": _thing(things.mushroom, "#cf3f31", "fungus"),
        "egg": _thing(things.egg, _SKY, "eggs"),
        "star": _thing(things.star, _GOLD, "stars"),
        "torch": _thing(things.torch, "#f08a24", "lamp light candle"),
        "shield": _thing(things.shield, _BLUE, "armor armour"),
        "sword": _thing(things.sword, "#c3ccd4", "axe weapon knife"),
        "battery": _thing(things.battery, _GREEN, "ammo fuel energy charge gas"),
        "bubble": _thing(things.bubble, _SKY, "oxygen air drop raindrop"),
        "house": _thing(things.house, _VERMILION, "castle hut village"),
        "tower": _thing(things.tower, "#7c8fa3", "city building block skyscraper base"),
        "web": _thing(things.web, "#d7dde2", "net cobweb"),
        "spring": _thing(things.spring, _BLUE, "source ripple", outlined=False),
        "nest": _thing(things.nest, "#7b6a58", "den burrow lair spawner cavern hive portalslow"),
        "log": _thing(things.log, "#a5713f", "logs trunk raft wood", outlined=False),
        "blade": _facing(things.blade, "#c3ccd4", "slash attack thrust"),
        "pick": _facing(things.pick, "#c3ccd4", "pickaxe shovel dig hammer"),
        "arrow": _facing(things.arrow, _VERMILION, "arrows bolt dart spear"),
        "bullet": _facing(things.bullet, _GOLD, "shot sam bullets projectile"),
        "ray": _facing(things.ray, _VERMILION, "laser beam"),
        "rocket": _facing(things.rocket, _VERMILION, "missile missiles incoming"),
        "torpedo": _facing(things.torpedo, "#5a666f", "torpedoes"),
        "box": _thing(things.box, _BROWN),
        "token": _thing(things.token, _GOLD),
        "pointer": _facing(things.pointer, _VERMILION),
        "burst": _thing(things.burst, _GOLD),
        # Vehicles.
        "truck": _facing(vehicles.truck, _BLUE, "trucks lorry bus van train"),
        "car": _facing(vehicles.car, _VERMILION, "cars fast racer"),
        "ship": _facing(vehicles.ship, _BLUE, "spaceship shuttle fighter"),
        "plane": _facing(vehicles.plane, _SKY, "aeroplane airplane jet helicopter chopper"),
        "tank": _facing(vehicles.tank, "#7d8f4e", "tanks"),
        "cannon": _thing(vehicles.cannon, _PURPLE, "cannon_top gun turret"),
        "cannon_up": _thing(vehicles.cannon_up, _PURPLE, "cannon_bottom"),
        "boat": _facing(vehicles.boat, "#a8532f", "boats sail pirate"),
        "submarine": _facing(vehicles.submarine, _GOLD, "sub"),
        "saucer": _thing(vehicles.saucer, "#9aa3ab", "ufo"),
        "paddle": _thing(vehicles.paddle, _BLUE, "bat_paddle"),
        # People and animals.
        "hero": _facing(creatures.hero, _GREEN, "link adventurer player elf thief archer"),
        "hero_key": _facing(creatures.hero_key, _GREEN, "withkey keeper"),
        "miner": _facing(creatures.miner, _BLUE, "digger"),
        "person": _facing(creatures.person, _BLUE, "villager man woman citizen human child farmer"),
        "knight": _facing(creatures.knight, _VERMILION, "guard soldier paladin enemy_guard police"),
        "zombie": _facing(creatures.zombie, "#86a95c", "zombies undead mummy hell"),
        "skeleton": _facing(creatures.skeleton, "#fbfaf6", "skeletons bones"),
        "robot": _facing(creatures.robot, "#8aa0b3", "robots drone machine"),
        "alien": _facing(creatures.alien, _GREEN, "aliens invader martian"),
        "ghost": _facing(creatures.ghost, _SKY, "ghosts spirit phantom"),
        "slime": _facing(creatures.slime, "#7ab648", "blob ooze amoeba"),
        "bat": _facing(creatures.bat, _PURPLE, "bats monsterquick vampire"),
        "spider": _facing(creatures.spider, "#6b4d86", "spiders monsternormal ant"),
        "scorpion": _facing(creatures.scorpion, "#c8873a", "scorpions monsterslow beetle"),
        "crab": _facing(creatures.crab, _VERMILION, "crabs lobster"),
        "butterfly": _thing(creatures.butterfly, _PINK, "butterflies moth cocoon"),
        "frog": _facing(creatures.frog, "#62a83b", "frogs toad"),
        "snake": _facing(creatures.snake, "#6aa84f", "snakes worm"),
        "bee": _facing(creatures.bee, _GOLD, "bees wasp"),
        "bird": _facing(creatures.bird, _SKY, "birds eagle seagull"),
        "fish": _facing(creatures.fish, "#f08a4b", "fishes shark whale piranha"),
        "beast": _facing(creatures.beast, "#8d8f96", "wolf dog bear fox predator"),
        "cat": _facing(creatures.cat, "#e2a04a", "cats lion tiger kitten"),
        "sheep": _facing(creatures.sheep, "#f2efe8", "goat goats lamb cow herd"),
        "mouse": _facing(creatures.mouse, "#a7a9ae", "mice rat rats rabbit hare"),
        "chicken": _facing(creatures.chicken, "#fbf3e2", "hen chick duck turkey animal"),
        "muncher": _facing(creatures.muncher, _GOLD, "pacman hungry"),
        "diver": _facing(creatures.diver, _VERMILION, "swimmer"),
        "dragon": _facing(creatures.dragon, _GREEN, "dragons boss lizard demon devil"),
        "germ": _facing(creatures.germ, "#8fb63c", "virus bacteria infected germs"),
        "creature": _facing(creatures.creature, _PURPLE, "monster monsters enemy enemies chaser"),
    }
)  # fmt: skip
"""Every picture by its name, which ``img=`` may give."""

_BY_CLASS = {
    "Immovable": "plain", "Passive": "box", "Door": "exit", "Resource": "token",
    "Missile": "pointer", "RandomMissile": "pointer", "SpawnPoint": "nest", "Bomber": "saucer",
    "Spreader": "flame", "Flicker": "burst", "OrientedFlicker": "burst", "RandomNPC": "creature",
    "Chaser": "creature",
}  # fmt: skip

# The colours that VGDL knows by name.
_COLOURS = {
    "GREEN": "#4fa83d", "BLUE": "#2f5fc4", "RED": "#cf3030", "GRAY": "#8c9196", "WHITE": "#f7f6f2",
    "BROWN": "#8a5a34", "BLACK": "#22272c", "ORANGE": "#f0892b", "YELLOW": "#f4d03a",
    "PINK": "#ef9bb8", "GOLD": "#e3b13a", "LIGHTRED": "#ef7a72", "LIGHTORANGE": "#f9b877",
    "LIGHTBLUE": "#8cc0ef", "LIGHTGREEN": "#9bd68b", "LIGHTGRAY": "#c9cdd0", "DARKGRAY": "#4c5258",
    "DARKBLUE": "#1d3a7a", "DARKGREEN": "#2a6a2c", "PURPLE": "#8b4fa8",
}  # fmt: skip

# What empty cells show where one of these pictures occurs, the first that fits.
_GROUNDS = (
    ("space", "ship saucer alien bulkhead ray"),
    ("sea", "submarine torpedo boat diver fish"),
    ("cave", "earth rock miner"),
    ("meadow", "hedge tree frog street sheep bee fence chicken flower goal tank house bird"),
    ("sand", "cactus muncher"),
)


@dataclass(frozen=True)
class Look:
    """A type's picture and colour; ``picture`` is None for what is not to be seen."""

    picture: str | None
    colour: str

    @property
    def n_variants(self) -> int:
        """How many pictures there are of it."""
        return 1 if self.picture is None else PICTURES[self.picture].n_variants


def looks(game: Game) -> tuple[Look, ...]:
    """Return how each type of ``game`` looks, in order of types."""
    made: list[Look] = []
    taken: dict[tuple[str, str], str] = {}
    for number in range(len(game.types)):
        look, source = _look(game, number), game.parameters[number].get("img", game.types[number])
        if look.picture is not None and not _colour_asked(game, number):
            spare = iter(PALETTE)
            while taken.get((look.picture, look.colour), source) != source:
                colour = next(spare, None)
                if colour is None:
                    break  # more alike than there are colours: names tell them apart
                look = Look(look.picture, colour)
        if look.picture is not None:
            taken.setdefault((look.picture, look.colour), source)
        made.append(look)
    return tuple(made)


def oversights(game: Game) -> tuple[str, ...]:
    """Return what the game says about looks that means nothing here, a sentence each.

    Paths of images (``img=oryx/wall3``) are not mentioned: published games are full of them.
    """
    found: dict[str, None] = {}  # in order; subtypes inherit, and say the same
    for number, written in enumerate(game.parameters):
        image, colour = written.get("img", ""), written.get("color", "")
        drawn = _look(game, number).picture
        if drawn and image and "/" not in image and _picture_named(image) is None:
            near = difflib.get_close_matches(image.lower(), _WORDS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            found[f"img={image} is no picture, drawn is '{drawn}'.{hint}"] = None
        if colour and _colour_asked(game, number) is None:
            known = ", ".join(_COLOURS)
            found[f"color={colour} is no colour and has no effect. Known: {known}."] = None
    return tuple(found)


def ground_of(shown: tuple[Look, ...]) -> Look:
    """Return what empty cells of a game show that has these looks."""
    pictures = {look.picture for look in shown}
    for name, signs in _GROUNDS:
        if pictures & set(signs.split()):
            return Look(name, PICTURES[name].colour)
    return Look("floor", PICTURES["floor"].colour)


@functools.lru_cache(maxsize=4096)
def pixels(look: Look, variant: int, tile: int) -> npt.NDArray[np.uint8]:
    """Return the picture of ``look``, uint8 (T, T, 4), RGBA, read-only.

    Args:
        look: what to draw, and in which colour.
        variant: place in `FACINGS`; of a picture that joins, the sum of 1, 2, 4 and 8 for the sides
            up, right, down and left that border on something else.
        tile: T, pixels a side.
    """
    if look.picture is None:
        made = np.zeros((tile, tile, 4), np.uint8)
    else:
        picture, pen = PICTURES[look.picture], Pen()
        if picture.draw is not None:
            picture.draw(pen, look.colour, FACINGS[variant])
        if picture.draw_ground is not None:
            up, right, down, left = (bool(variant >> side & 1) for side in range(4))
            picture.draw_ground(pen, look.colour, (up, right, down, left))
        if picture.outlined:
            pen.outline()
        made = pen.pixels(tile)
    made.flags.writeable = False
    return made


def _look(game: Game, number: int) -> Look:
    """Return how a type looks before those that look alike are told apart."""
    written = game.parameters[number]
    if any(written.get(key, "").lower() == "true" for key in ("invisible", "hidden")):
        return Look(None, "#000000")
    parents = sorted(
        (name for name, below in game.subtypes.items() if number in below),
        key=lambda name: len(game.subtypes[name]),
    )
    sources = [written.get("img", ""), game.types[number], *parents]
    found = next(filter(None, map(_picture_named, sources)), None)
    if found is None:
        found = _BY_CLASS.get(game.classes[number], "person")
    return Look(found, _colour_asked(game, number) or PICTURES[found].colour)


def _colour_asked(game: Game, number: int) -> str | None:
    written = game.parameters[number]
    asked = written.get("color", "")
    return _COLOURS.get(asked.upper().replace("_", ""))


def _words() -> dict[str, str]:
    known = {name: name for name in PICTURES}
    for name, picture in PICTURES.items():
        for word in picture.words.split():
            known.setdefault(word, name)
    return known


_WORDS = _words()
_SHORTEST_PART = 4  # letters of a word found inside of another: "redwall" yes, "batch" no


def _picture_named(text: str) -> str | None:
    """Return the picture that a name or a path of an image means, if any."""
    last = re.sub(r"\.\w+$", "", text.split("/")[-1])
    plain = re.sub(r"\d+$", "", last.lower()).strip("_-")
    if plain in _WORDS:
        return _WORDS[plain]
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", last)
    for word in (word.lower() for word in reversed(words)):
        if word in _WORDS:
            return _WORDS[word]
    inside = [word for word in _WORDS if len(word) >= _SHORTEST_PART and word in plain]
    return _WORDS[max(inside, key=len)] if inside else None
