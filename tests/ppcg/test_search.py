"""Ways to win: the shortest where all states fit, none where there is none, the same each time."""

import numpy as np
import pytest

from sidle.errors import ArgumentError
from sidle.ppcg import games, generators, search, vgdl
from sidle.ppcg.engine import Engine

RULES = """
BasicGame
    SpriteSet
        wall > Immovable
        fire > Immovable
        key > Immovable
        avatar > MovingAvatar
    InteractionSet
        avatar wall > stepBack
        key avatar > killSprite scoreChange=1
        avatar fire > killSprite
    TerminationSet
        SpriteCounter stype=key limit=0 win=True
        SpriteCounter stype=avatar limit=0 win=False
    LevelMapping
        w > wall
        f > fire
        k > key
        A > avatar
"""
GAME = vgdl.compile_game(RULES, name="keys")


def steps_to_key(grid):
    """Return the least steps from A to k, None if there are none, by a flood written plainly."""
    (start,) = map(tuple, np.argwhere(grid == ord("A")))
    distances, front = {start: 0}, [start]
    for y, x in front:  # grows while it is gone through
        if grid[y, x] == ord("k"):
            return distances[y, x]
        for cell in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if cell not in distances and chr(grid[cell]) not in "wf":
                distances[cell] = distances[y, x] + 1
                front.append(cell)
    return None


def mazes(n):
    rng = np.random.default_rng(0)
    for _ in range(n):
        grid = np.full((9, 11), ord("w"), np.uint8)
        inside = grid[1:-1, 1:-1]
        inside[:] = rng.choice([ord(c) for c in "wf "], p=[0.25, 0.1, 0.65], size=inside.shape)
        places = rng.choice(inside.size, 2, replace=False)
        inside.flat[places[0]], inside.flat[places[1]] = ord("A"), ord("k")
        yield grid


def test_ways_through_mazes_are_the_shortest_and_where_there_is_none_that_is_proven():
    lengths = []
    for grid in mazes(60):
        outcome = search.solve(GAME, GAME.level(grid), width=1000)
        found = None if outcome.actions is None else len(outcome.actions)
        assert found == steps_to_key(grid)
        assert outcome.complete
        lengths.append(found)
    assert lengths.count(None) > 5
    assert lengths.count(None) < 55


def test_states_seen_before_are_not_followed_again():
    # Nine cells, each with a clock that says moved or waited, times five actions; and the first.
    outcome = search.solve(GAME, GAME.level("wwwwwwww\nwA  wwkw\nw   wwww\nw   wwww\nwwwwwwww"))
    assert outcome.actions is None
    assert outcome.complete
    assert outcome.n_states == 1 + 9 * 2 * 5


def test_the_longest_way_is_kept_to():
    level = GAME.level("wwwwwwww\nwA    kw\nwwwwwwww")
    assert search.solve(GAME, level, most_ticks=5).actions == (2,) * 5
    cut = search.solve(GAME, level, most_ticks=4)
    assert (cut.actions, cut.complete) == (None, True)


def test_a_narrow_beam_says_that_it_left_states_out():
    open_room = "\n".join(["w" * 12, "wA" + " " * 9 + "w", *["w" + " " * 10 + "w"] * 8, "w" * 12])
    level = GAME.level(open_room.replace(" w\nwwwwwwwwwwww", "kw\nwwwwwwwwwwww"))
    # At random, three states seldom reach the far corner as fast as can be; led, they do.
    blind = search.solve(GAME, level, width=3, most_ticks=18)
    led = search.solve(GAME, level, width=3, most_ticks=18, near=("key",))
    assert (blind.actions, blind.complete) == (None, False)
    assert led.actions is not None
    assert (len(led.actions), led.complete) == (17, False)


DICE = vgdl.compile_game(
    """
BasicGame
    SpriteSet
        dice > Immovable
        prize > Immovable
        avatar > MovingAvatar
    InteractionSet
        avatar wall > stepBack
        dice avatar > spawn stype=prize prob=0.2
    TerminationSet
        MultiSpriteCounter stype1=prize limit=1 min=True win=True
    LevelMapping
        d > dice
""",
    name="dice",
)


@pytest.mark.parametrize("seed", range(6))
def test_states_that_look_alike_are_told_apart_by_what_chance_will_bring(seed):
    # A throw that brought nothing changes nothing but the throws to come, so that the fastest way
    # is to go to the dice at once and stay.
    level = DICE.level("wwwwww\nw Ad w\nwwwwww")
    engine = Engine(DICE, 1, height=3, width=6, seed=seed, autoreset="disabled")
    engine.reset(level)
    right = DICE.actions.index("ACTION_RIGHT")
    ticks = 0
    while not engine.dones[0]:
        engine.step(np.array([0 if ticks else right]))
        ticks += 1
    outcome = search.solve(DICE, level, seed=seed, most_ticks=60)
    assert outcome.actions is not None
    assert len(outcome.actions) == ticks


def test_of_ways_as_short_the_one_with_the_most_points_is_taken():
    rules = RULES.replace("        fire >", "        gold > Immovable\n        fire >")
    rules = rules.replace("        avatar fire", "        gold avatar > killSprite scoreChange=9\n"
                          "        avatar fire")  # fmt: skip
    rules = rules.replace("        SpriteCounter stype=avatar",
                          "        SpriteCounter stype=gold limit=0 win=True\n"
                          "        SpriteCounter stype=avatar")  # fmt: skip
    game = vgdl.compile_game(rules.replace("        f > fire", "        g > gold"), name="gold")
    for rows, action in (("wkAgw", "ACTION_RIGHT"), ("wgAkw", "ACTION_LEFT")):
        outcome = search.solve(game, game.level(rows))
        assert outcome.actions == (game.actions.index(action),)


def test_the_beam_is_led_around_walls():
    # As the crow flies the pocket beside the key is best; a beam of three would stay in it.
    rows = ["w" * 14, "w           kw", "w wwwwwwwwwwww", "w           Aw", "w" * 14]
    outcome = search.solve(GAME, GAME.level(rows), width=3, near=("key",), most_ticks=30)
    assert outcome.actions is not None
    assert len(outcome.actions) <= 28


def test_large_levels_are_searched_as_the_crow_flies():
    side = 60  # a table of all distances would have 13 million
    rows = ["w" * side, *["w" + " " * (side - 2) + "w"] * (side - 2), "w" * side]
    rows[40] = rows[40][:8] + "A" + rows[40][9:]
    rows[20] = rows[20][:30] + "k" + rows[20][31:]
    level = GAME.level(rows)
    blind = search.solve(GAME, level, width=5, most_ticks=60)
    led = search.solve(GAME, level, width=5, most_ticks=60, near=("key",))
    assert blind.actions is None
    assert led.actions is not None
    assert 42 <= len(led.actions) <= 50


def test_what_is_to_be_visited_first_comes_first():
    # The exit is nearer than the key, and closed without it.
    rules = vgdl.compile_game(games.load("zelda").rules, name="zelda")
    rows = ["w" * 20, "w+" + " " * 12 + "Ag" + "   w", "w" * 20]
    level = rules.level([row.ljust(20, "w") for row in rows])
    outcome = search.solve(rules, level, width=20, near=("key", "exit"), most_ticks=40)
    assert outcome.actions is not None
    assert len(outcome.actions) <= 30  # 13 steps back, 14 forth, and what turning takes


@pytest.mark.parametrize("name", ["frogs", "zelda"])
def test_the_same_search_finds_the_same(name):
    rules = vgdl.compile_game(games.load(name).rules, name=name)
    level = rules.level(generators.find(name).generate(0.7, 5))
    first, second = (search.solve(rules, level, width=50, near=()) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("sprites", "ending", "ticks"),
    [
        # Nothing changes while one waits, and yet waiting wins.
        ("", "Timeout limit=6 win=True", 7),
        ("        tree > SpawnPoint stype=fruit cooldown=7 total=2\n", "MultiSpriteCounter "
         "stype1=fruit limit=2 win=True", 8),
    ],
)  # fmt: skip
def test_waiting_is_thought_of_where_time_alone_changes_something(sprites, ending, ticks):
    game = vgdl.compile_game(
        f"""
BasicGame
    SpriteSet
        wall > Immovable
        fruit > Immovable
{sprites}        avatar > MovingAvatar
    InteractionSet
        avatar wall > stepBack
    TerminationSet
        {ending}
    LevelMapping
        w > wall
        t > {"tree" if sprites else "wall"}
        A > avatar
""",
        name="waiting",
    )
    outcome = search.solve(game, game.level("wwwww\nwA tw\nwwwww"), most_ticks=20)
    assert outcome.actions is not None
    assert len(outcome.actions) == ticks


def test_numbers_and_names_outside_are_refused():
    level = GAME.level("wwwww\nwA kw\nwwwww")
    with pytest.raises(ArgumentError, match=r"width must be at least 1 .* got 0 and 300"):
        search.solve(GAME, level, width=0)
    with pytest.raises(ArgumentError, match="most_ticks from 1 to 2001, got 1000 and 2002"):
        search.solve(GAME, level, most_ticks=2002)
    with pytest.raises(ArgumentError, match=r"no type 'door' in keys. The types are: wall, fire"):
        search.solve(GAME, level, near=("door",))
