"""The engine: the same whatever stands beside; states that come back; planes that are true."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reference import vgdl_state
from sidle.errors import ArgumentError, ShapeError
from sidle.ppcg import compiling, games, playable
from sidle.ppcg.bank import LevelBank
from sidle.ppcg.engine import MOST_TICKS, Engine
from sidle.ppcg.kernels import codes
from sidle.ppcg.vgdl import compile_game

NAMES = games.names()
PATIENT = ("orchard", "storehouse")  # no episode of random play ends soon
# No rule keeps them inside: where the exit is part of the outer wall, they walk out of it.
LEAVING = {"zelda": ("quick", "normal", "slow")}


def bank_of(stage, n=60):
    height, width = stage.shape
    bank = LevelBank(stage.game, height=height, width=width)
    difficulties = np.linspace(0, 1, n)
    bank.add(stage.generator.generate_many(difficulties, np.arange(n)), difficulties=difficulties)
    return bank


def engine_of(stage, n, *, seed=5, bank=None, **options):
    height, width = stage.shape
    bank = bank_of(stage) if bank is None else bank
    engine = Engine(stage.game, n, height=height, width=width, seed=seed, bank=bank, **options)
    engine.reset()
    return engine


def actions_of(engine, steps, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(len(engine.game.actions), size=(steps, engine.n))


def seen(engine):
    return (
        engine.planes.copy(), engine.rewards.copy(), engine.dones.copy(), engine.wins.copy(),
        engine.scores.copy(), engine.ticks.copy(), engine.levels.copy(),
    )  # fmt: skip


def assert_same(one, other, n=None):
    for a, b in zip(one, other, strict=True):
        assert np.array_equal(a[:n], b[:n])


# Determinism.


@pytest.mark.parametrize("name", NAMES)
def test_the_same_trajectory_in_1_in_7_and_in_64_slots_and_on_two_threads(name):
    stage = playable.find(name)
    many = engine_of(stage, 64)
    others = [engine_of(stage, 1), engine_of(stage, 7), engine_of(stage, 64, threads=2)]
    n_ended = 0
    for row in actions_of(many, 150):
        many.step(row)
        n_ended += int(many.dones.sum())
        for other in others:
            other.step(row[: other.n])
            assert_same(seen(other), seen(many), other.n)
    logs = [engine.episodes() for engine in (many, *others)]
    assert len(logs[0]) == n_ended
    for other, log in zip(others, logs[1:], strict=True):
        assert log.tolist() == logs[0][logs[0]["slot"] < other.n].tolist()


def test_another_seed_another_trajectory():
    stage = playable.find("zelda")
    first, second = engine_of(stage, 8), engine_of(stage, 8, seed=6)
    assert not np.array_equal(first.planes, second.planes)  # other levels
    level = stage.levels[0]
    first.reset(level)
    second.reset(level)
    assert np.array_equal(first.planes, second.planes)
    for row in actions_of(first, 30):
        first.step(row)
        second.step(row)
    assert not np.array_equal(first.planes, second.planes)  # other chance


# Snapshots.


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_state_goes_on_to_the_bit(name):
    engine = engine_of(playable.find(name), 6)
    rows = actions_of(engine, 140)
    for row in rows[:60]:
        engine.step(row)
    snapshot, before = engine.snapshot(), seen(engine)

    def go_on():
        found = []
        for row in rows[60:]:
            engine.step(row)
            found.append(seen(engine))
        return found

    first = go_on()
    engine.restore(snapshot)
    # Rewards and ends are those of a step, not of a state.
    assert_same((before[0], *before[4:]), (seen(engine)[0], *seen(engine)[4:]))
    for one, other in zip(first, go_on(), strict=True):
        assert_same(one, other)


def test_a_state_may_be_taken_to_other_slots_and_engines():
    stage = playable.find("boulderdash")
    bank = bank_of(stage)
    engine, other = (engine_of(stage, n, bank=bank, autoreset="disabled") for n in (3, 5))
    for row in actions_of(engine, 25):
        engine.step(row)
    other.restore(engine.snapshot([1]), [0, 2, 4])
    engine.branch(1, [0, 2])
    assert other.state(0) == other.state(2) == other.state(4) == engine.state(0) == engine.state(1)
    assert len(set(engine.keys().tolist())) == 1
    for action in actions_of(engine, 60, seed=1)[:, 0]:
        engine.step(np.full(3, action))
        other.step(np.full(5, action))
        for slot in (0, 2, 4):
            assert other.state(slot) == engine.state(1)
    assert np.array_equal(other.planes[[0, 2, 4]], engine.planes)


# Observations and counts, against the state in words.


@pytest.mark.parametrize("name", NAMES)
def test_planes_show_the_state_and_nothing_else(name):
    stage = playable.find(name)
    engine = engine_of(stage, 8)
    game = engine.game
    height, width = stage.shape
    names = ("orientation_x", "orientation_y", "offset_x", "offset_y")
    moving = [game.channels.index(channel) for channel in names]
    plain = [channel for channel in range(len(game.channels)) if channel not in moving]
    # Sprites kept as bits of their cells never move nor turn.
    fixed = {game.types[number] for number in np.flatnonzero(game.tables.types[:, codes.T_FIXED])}
    for clock, row in enumerate(actions_of(engine, 100)):
        for slot in range(engine.n) if clock % 10 == 0 else ():
            state, planes = engine.state(slot), engine.planes[slot]
            expected = vgdl_state.observation(game, state, height, width)
            assert np.array_equal(planes[plain], expected[plain])
            motions = vgdl_state.motions(game, state, fixed)
            for cell in np.ndindex(height, width):
                assert tuple(planes[moving][:, *cell].tolist()) in motions.get(cell, {(0, 0, 0, 0)})
        engine.step(row)


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_those_of_the_state(name):
    engine = engine_of(playable.find(name), 5)
    for row in actions_of(engine, 80):
        engine.step(row)
    for slot in range(engine.n):
        sprites = engine.state(slot)["sprites"]
        for kind in engine.game.types:
            alive = [s for s in sprites if s[0] == kind and not (s[3:] and "disabled" in s[3])]
            assert engine.count(kind)[slot] == len(alive)
            places = engine.sprites(kind)
            assert sorted(places[places[:, 0] == slot, 1:].tolist()) == sorted(
                s[1:3] for s in sprites if s[0] == kind
            )


def endings_hold(engine, description, ticks):
    """Whether each slot is over, and whether it is won, by the terminations of the game."""
    over, won = np.zeros((2, engine.n), bool)
    for ending in description.endings:
        given = ending.parameters
        limit = given.get("limit", 0)
        names = [given[key] for key in ("stype", "stype1", "stype2", "stype3") if key in given]
        count = sum((engine.count(name) for name in names), np.zeros(engine.n, np.int64))
        holds = {
            "SpriteCounter": count <= limit,
            "MultiSpriteCounter": count >= limit if given.get("min") else count == limit,
            "Timeout": ticks >= limit,
        }[ending.kind]
        won |= holds & ~over & given["win"]
        over |= holds
    return over | (ticks >= MOST_TICKS), won


def play_at_random(name, n, n_steps):
    """Check in every step what holds in any game; return how many episodes ended."""
    stage = playable.find(name)
    bank = bank_of(stage)
    bank.add(stage.levels)
    engine = engine_of(stage, n, bank=bank, autoreset="disabled")
    description = compiling.describe(games.load(name).rules, name)
    ticks, paid, n_ended = np.full(n, -1), np.zeros(n, int), 0  # the first tick is number 0
    height, width = stage.shape
    for clock, row in enumerate(actions_of(engine, n_steps)):
        engine.step(row)
        ticks += 1
        paid += engine.rewards
        over, won = endings_hold(engine, description, ticks)
        assert np.array_equal(engine.dones, over)
        assert np.array_equal(engine.wins, won)
        assert np.array_equal(engine.ticks, ticks)
        assert np.array_equal(engine.scores, paid)
        for kind in engine.game.types if clock % 50 == 0 else ():
            places = engine.sprites(kind)
            rows, columns = ((places[:, axis] + 5) // 10 for axis in (2, 1))
            inside = np.isin(rows, range(height)) & np.isin(columns, range(width))
            assert inside.all() or kind in LEAVING.get(name, ()), kind
            assert (np.bincount(places[:, 0], minlength=n) >= engine.count(kind)).all()
            plane = engine.planes[:, engine.game.channels.index(kind)]
            seen = np.zeros_like(plane)
            seen[places[inside, 0], rows[inside], columns[inside]] = 1
            assert np.array_equal(plane, seen)
        ended = np.flatnonzero(over)
        n_ended += len(ended)
        if len(ended):
            engine.reset(slots=ended)
            ticks[ended], paid[ended] = -1, 0
    return n_ended


@pytest.mark.parametrize("name", NAMES)
def test_random_play_keeps_inside_counts_right_and_ends_when_the_rules_say(name):
    assert bool(play_at_random(name, n=20, n_steps=150)) == (name not in PATIENT)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_a_million_steps_of_random_play_do_too(name):
    assert play_at_random(name, n=400, n_steps=2500) > 0


# Crowds.

ROOM = ["w" * 9, "wr     lw", "w   l  bw", "wd    u w", "w ub n dw", "w l  r  w", "w" * 9]
CROWD = compile_game(
    """
BasicGame
    SpriteSet
        wall > Immovable
        box > Passive
        cart > Missile
            right > orientation=RIGHT speed=0.3
            left > orientation=LEFT speed=0.2
            down > orientation=DOWN speed=0.4
            up > orientation=UP speed=0.5
        spark > Flicker limit=3
        nest > SpawnPoint stype=left cooldown=13
    InteractionSet
        box cart > bounceForward
        box box wall > stepBack
        down wall > killSprite
        cart wall > reverseDirection
        left right > transformTo stype=down scoreChange=1
        right left > spawn stype=spark
        up down > killBoth scoreChange=1
        spark cart > killSprite
        cart box > reverseDirection
    LevelMapping
        r > right
        l > left
        d > down
        u > up
        b > box
        n > nest
""",
    name="crowd",
)


def room_by_room(state):
    """The sprites of each room but the avatar's, with places from the room's corner."""
    rooms = {}
    for kind, x, y, *extras in state["sprites"]:
        column, row = x // 90, y // 70
        place = [kind, x - 90 * column, y - 70 * row, *extras]
        rooms.setdefault((column, row), []).append(place)
    avatar = next(room for room, sprites in rooms.items() if ["avatar", 0, 0] in sprites)
    return [sorted(rooms[room], key=str) for room in sorted(rooms) if room != avatar]


def test_what_happens_in_a_room_is_the_same_in_a_crowd_of_rooms():
    # Alone, every pair is compared; of hundreds of carts and boxes only those that share a cell.
    def play(rows, columns):
        level = [row * columns + " " for row in ROOM * rows]
        level[0] = level[0][:-1] + "A"
        engine = Engine(
            CROWD, 1, height=len(level), width=len(level[0]), seed=0, autoreset="disabled"
        )
        engine.reset(CROWD.level(level))
        for _ in range(80):
            yield room_by_room(engine.state(0)), int(engine.scores[0])
            engine.step([0])

    kinds = set()
    for (alone, score), (crowd, scores) in zip(play(1, 1), play(4, 5), strict=True):
        assert crowd == alone * 20
        assert scores == 20 * score
        kinds.add(tuple(sprite[0] for sprite in alone[0]))
    assert len(kinds) > 5  # births and deaths
    assert score > 0


# Errors, and what would be one.


def test_kernels_stay_within_their_arrays():
    # In the interpreter, each slot's memory being a list that knows its ends.
    script = Path(__file__).parents[1] / "programs" / "strict_kernels.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(NAMES)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"n": 0}, ArgumentError, "n and threads must be at least 1"),
        ({"threads": 0}, ArgumentError, "n and threads must be at least 1"),
        ({"height": 256}, ArgumentError, "from 1 to 255, got 256 x 13"),
        ({"autoreset": "later"}, ArgumentError, "autoreset must be one of"),
        ({"keep_final": True, "observe": False}, ArgumentError, "keep_final needs"),
    ],
)
def test_bad_arguments_are_named(arguments, error, words):
    given = {"n": 2, "height": 9, "width": 13, "seed": 0} | arguments
    with pytest.raises(error, match=words):
        Engine(playable.find("zelda").game, **given)


def test_misuse_is_named():
    stage = playable.find("zelda")
    engine = Engine(stage.game, 2, height=9, width=13, seed=0)
    for call, error, text in (
        (lambda: engine.step([0, 0]), ArgumentError, "Call reset first"),
        (lambda: engine.reset(), ArgumentError, "no level to play"),
        (lambda: engine.weigh_levels([1.0]), ArgumentError, "weights need a bank"),
        (lambda: engine.reset([stage.levels[0]]), ShapeError, "1 levels for 2 slots"),
        (lambda: engine.state(2), ArgumentError, "slots must be from 0 to 1"),
        (lambda: engine.sprites("dragon"), ArgumentError, "no type 'dragon'"),
        (lambda: engine.count("dragon"), ArgumentError, "no type 'dragon'"),
        (lambda: engine_of(stage, 2).reset(indices=[0, 60]), ArgumentError, "from 0 to 59"),
        (lambda: engine.restore(engine_of(playable.find("frogs"), 1).snapshot()), ArgumentError,
         "another game"),
    ):  # fmt: skip
        with pytest.raises(error, match=text):
            call()
    engine.reset(stage.levels[0])
    for actions, error, text in (
        ([0], ShapeError, "expected 2 actions"),
        ([0, 6], ArgumentError, "actions must be from 0 to 5"),
        ([-1, 0], ArgumentError, "got -1 to 0"),
    ):
        before = engine.state(0)
        with pytest.raises(error, match=text):
            engine.step(actions)
        assert engine.state(0) == before
