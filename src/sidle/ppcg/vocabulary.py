"""The part of VGDL that sidle knows: sprite classes, effects, terminations, and their parameters.

What 61 % of the 122 single-player games of GVGAI need. Everything else is refused by name. The
meaning of each entry is in ``docs/vgdl.md``; the numbers are those the kernels switch on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sidle.ppcg.kernels import codes

DIRECTIONS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"UP": (0, -1), "DOWN": (0, 1), "LEFT": (-1, 0), "RIGHT": (1, 0)}
)
"""Names of directions -> (dx, dy), y down."""

ACTIONS = (
    "ACTION_NIL",
    "ACTION_LEFT",
    "ACTION_RIGHT",
    "ACTION_UP",
    "ACTION_DOWN",
    "ACTION_USE",
)
"""All actions; a game offers a prefix of them, so that an action's number means the same."""


@dataclass(frozen=True)
class SpriteClass:
    """What a class of sprites is before its parameters.

    Attributes:
        number: what the kernels switch on.
        static: never moves by itself.
        orientation: (dx, dy) at birth.
        oriented: whether it has an orientation; a parameter ``orientation`` gives it one, too.
        speed: tiles in a tick.
        actions: how many of `ACTIONS` it takes if it is an avatar, else 0.
    """

    number: int
    static: bool = False
    oriented: bool = False
    orientation: tuple[int, int] = (0, 0)
    speed: float = 0.0
    actions: int = 0


_RIGHT = DIRECTIONS["RIGHT"]

CLASSES: Mapping[str, SpriteClass] = MappingProxyType(
    {
        "Immovable": SpriteClass(codes.IMMOVABLE, static=True),
        "Passive": SpriteClass(codes.PASSIVE),
        "Door": SpriteClass(codes.DOOR, static=True),
        "Resource": SpriteClass(codes.RESOURCE),
        "Missile": SpriteClass(codes.MISSILE, oriented=True, speed=1.0),
        "RandomMissile": SpriteClass(codes.RANDOM_MISSILE, oriented=True, speed=1.0),
        "SpawnPoint": SpriteClass(codes.SPAWN_POINT, static=True),
        "Bomber": SpriteClass(codes.BOMBER, oriented=True, orientation=_RIGHT),
        "Spreader": SpriteClass(codes.SPREADER),
        "Flicker": SpriteClass(codes.FLICKER),
        "OrientedFlicker": SpriteClass(codes.ORIENTED_FLICKER, oriented=True),
        "RandomNPC": SpriteClass(codes.RANDOM_NPC, speed=1.0),
        "Chaser": SpriteClass(codes.CHASER, speed=1.0),
        "MovingAvatar": SpriteClass(codes.MOVING_AVATAR, speed=1.0, actions=5),
        "ShootAvatar": SpriteClass(
            codes.SHOOT_AVATAR, oriented=True, orientation=_RIGHT, speed=1.0, actions=6
        ),
        "OngoingAvatar": SpriteClass(
            codes.ONGOING_AVATAR, oriented=True, orientation=_RIGHT, speed=1.0, actions=5
        ),
        "OrientedAvatar": SpriteClass(
            codes.ORIENTED_AVATAR, oriented=True, orientation=_RIGHT, speed=1.0, actions=5
        ),
        "MissileAvatar": SpriteClass(
            codes.MISSILE_AVATAR, oriented=True, orientation=_RIGHT, speed=1.0, actions=1
        ),
    }
)
"""The eighteen sprite classes."""

# Kinds of parameter values, checked by `compiling`.
INTEGER, COUNT, NUMBER, SHARE, FLAG, DIRECTION, TYPE, WORD = (
    "a whole number",
    "a whole number of at least 0",
    "a number of at least 0",
    "a number from 0 to 1",
    "True or False",
    "UP, DOWN, LEFT or RIGHT",
    "the name of a sprite type",
    "a word",
)

SPRITE_PARAMETERS: Mapping[str, str] = MappingProxyType(
    {
        "speed": NUMBER,
        "cooldown": COUNT,
        "orientation": DIRECTION,
        "singleton": FLAG,
        "limit": INTEGER,
        "value": INTEGER,
        "stype": TYPE,
        "total": COUNT,
        "prob": SHARE,
        "spawnorientation": DIRECTION,
        "spreadprob": SHARE,
        "cons": COUNT,
        "maxDistance": NUMBER,
        "healthPoints": INTEGER,
        "maxHealthPoints": INTEGER,
        "limitHealthPoints": INTEGER,
        "rotateInPlace": FLAG,
        "ammo": TYPE,
    }
)
"""Parameters of sprites. A class takes no notice of those it has no use for: children inherit
them from a parent type whatever their class."""

DRAWING_PARAMETERS = frozenset(
    {
        "img",
        "color",
        "shrinkfactor",
        "autotiling",
        "randomtiling",
        "frameRate",
        "draw_arrow",
        "hidden",
        "invisible",
    }
)
"""Parameters of sprites that only say how they look; rules take no notice of them."""


@dataclass(frozen=True)
class Effect:
    """An effect of a rule.

    Attributes:
        number: what the kernels switch on.
        parameters: name -> kind, besides `EFFECT_PARAMETERS`.
        required: those that must be given.
        needs_second: whether it makes no sense at the edge of the screen (EOS).
    """

    number: int
    parameters: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    needs_second: bool = False


EFFECT_PARAMETERS: Mapping[str, str] = MappingProxyType({"scoreChange": INTEGER, "repeat": INTEGER})
"""Parameters of every effect."""

_TRANSFORMING = {"stype": TYPE, "killSecond": FLAG, "forceOrientation": FLAG}

EFFECTS: Mapping[str, Effect] = MappingProxyType(
    {
        "killSprite": Effect(codes.KILL_SPRITE),
        "killBoth": Effect(codes.KILL_BOTH, needs_second=True),
        "stepBack": Effect(codes.STEP_BACK, {"pixelPerfect": FLAG}),
        "undoAll": Effect(codes.UNDO_ALL, {"notStype": TYPE}),
        "transformTo": Effect(codes.TRANSFORM_TO, _TRANSFORMING, ("stype",)),
        "transformToAll": Effect(
            codes.TRANSFORM_TO_ALL, {**_TRANSFORMING, "stypeTo": TYPE}, ("stype", "stypeTo")
        ),
        "spawn": Effect(codes.SPAWN, {"stype": TYPE, "prob": SHARE}, ("stype",)),
        "spawnIfHasMore": Effect(
            codes.SPAWN_IF_HAS_MORE,
            {"resource": TYPE, "limit": INTEGER, "stype": TYPE, "prob": SHARE, "spend": COUNT},
            ("resource", "stype"),
        ),
        "changeResource": Effect(
            codes.CHANGE_RESOURCE,
            {"resource": TYPE, "value": INTEGER, "killResource": FLAG},
            ("resource",),
        ),
        "collectResource": Effect(
            codes.COLLECT_RESOURCE, {"killResource": FLAG}, needs_second=True
        ),
        "addHealthPoints": Effect(
            codes.ADD_HEALTH_POINTS, {"value": INTEGER, "stype": TYPE, "killSecond": FLAG}
        ),
        "subtractHealthPoints": Effect(
            codes.SUBTRACT_HEALTH_POINTS,
            {"value": INTEGER, "limit": INTEGER, "stype": TYPE, "scoreChangeIfKilled": INTEGER},
        ),
        "killIfHasLess": Effect(
            codes.KILL_IF_HAS_LESS, {"resource": TYPE, "limit": INTEGER}, ("resource",)
        ),
        "killIfOtherHasMore": Effect(
            codes.KILL_IF_OTHER_HAS_MORE,
            {"resource": TYPE, "limit": INTEGER, "subtract": FLAG},
            ("resource",),
            needs_second=True,
        ),
        "killIfFromAbove": Effect(codes.KILL_IF_FROM_ABOVE, needs_second=True),
        "bounceForward": Effect(codes.BOUNCE_FORWARD, needs_second=True),
        "pullWithIt": Effect(codes.PULL_WITH_IT, {"pixelPerfect": FLAG}, needs_second=True),
        "shieldFrom": Effect(
            codes.SHIELD_FROM, {"stype": TYPE, "ftype": WORD}, ("stype", "ftype"), needs_second=True
        ),
        "wrapAround": Effect(codes.WRAP_AROUND, {"offset": NUMBER}),
        "reverseDirection": Effect(codes.REVERSE_DIRECTION),
        "attractGaze": Effect(
            codes.ATTRACT_GAZE, {"prob": SHARE, "align": FLAG}, needs_second=True
        ),
    }
)
"""The twenty-one effects."""


@dataclass(frozen=True)
class Termination:
    """A way a game ends: its number and the parameters it takes (`win` is required of all)."""

    number: int
    parameters: Mapping[str, str]
    required: tuple[str, ...]


TERMINATIONS: Mapping[str, Termination] = MappingProxyType(
    {
        "SpriteCounter": Termination(
            codes.SPRITE_COUNTER,
            {"stype": TYPE, "limit": INTEGER, "win": FLAG},
            ("stype", "win"),
        ),
        "MultiSpriteCounter": Termination(
            codes.MULTI_SPRITE_COUNTER,
            {
                "stype1": TYPE,
                "stype2": TYPE,
                "stype3": TYPE,
                "limit": INTEGER,
                "min": FLAG,
                "win": FLAG,
            },
            ("stype1", "win"),
        ),
        "Timeout": Termination(codes.TIMEOUT, {"limit": INTEGER, "win": FLAG}, ("win",)),
    }
)
"""The three terminations."""
