"""Points of the semantics that random games found, beyond the conformance cases.

Each was seen in the reference engine (GVGAI at e58ff659) on the very game below: the states named
here are its own.
"""

import pytest

from sidle.ppcg.engine import Engine
from sidle.ppcg.vgdl import compile_game

N, L, R, U, D, S = range(6)


def play(sprites, mapping, rules, level, actions, endings=()):
    """Return the states before and after each action of a small game."""
    sections = {
        "SpriteSet": sprites,
        "LevelMapping": mapping,
        "InteractionSet": rules,
        "TerminationSet": endings,
    }
    lines = ["BasicGame"]
    for name, content in sections.items():
        lines += [f"    {name}", *(f"        {line}" for line in content)]
    game = compile_game("\n".join(lines), name="small")
    engine = Engine(
        game, 1, height=len(level), width=len(level[0]), seed=0, autoreset="disabled"
    )  # fmt: skip
    engine.reset(game.level(level))
    states = [engine.state(0)]
    for action in actions:
        engine.step([action if action < len(game.actions) else N])
        states.append(engine.state(0))
    return states


def only(state, name):
    """Return (x, y, extras) of the one sprite of a type."""
    (found,) = [sprite[1:] for sprite in state["sprites"] if sprite[0] == name]
    x, y, *extras = found
    return x, y, extras[0] if extras else {}


def scores(states):
    return [state["score"] for state in states]


# The edge of the level.


def test_rules_of_the_edge_leave_a_killed_avatar_alone():
    states = play([], [], ["avatar EOS > killSprite", "avatar EOS > stepBack"], ["A "], [L, N])
    assert only(states[1], "avatar") == (-10, 0, {"disabled": True})
    states = play([], [], ["avatar EOS > killSprite scoreChange=-2"], ["A "], [L, N, N])
    assert scores(states) == [0, -2, -2, -2]


def test_the_edge_takes_no_notice_of_repeat():
    rules = ["avatar EOS > addHealthPoints repeat=3 scoreChange=1"]
    states = play([], [], rules, ["A "], [L])
    assert only(states[1], "avatar") == (-10, 0, {"hp": 1})
    assert scores(states) == [0, 1]
    # A pair does.
    states = play([], [], ["avatar wall > addHealthPoints repeat=3 scoreChange=1"], ["Aw"], [R])
    assert only(states[1], "avatar") == (10, 0, {"hp": 3})
    assert scores(states) == [0, 3]


def test_a_birth_of_its_own_type_at_the_edge_ends_the_pass():
    sprites = ["ball > Missile orientation=LEFT"]
    rules = ["ball EOS > transformTo stype=ball scoreChange=1"]
    states = play(sprites, ["b > ball"], rules, ["b A", "b  ", "b  "], [N, N])
    # All three leave in the second tick, and only the first of them is transformed.
    assert scores(states) == [0, 0, 1]
    assert [sprite[:3] for sprite in states[2]["sprites"] if sprite[0] == "ball"] == [
        ["ball", -10, 0], ["ball", -10, 10], ["ball", -10, 20],
    ]  # fmt: skip


def test_resources_do_not_change_at_the_edge():
    rules = ["avatar EOS > changeResource resource=coin value=1 scoreChange=2"]
    states = play(["coin > Resource"], [], rules, ["A "], [L, N])
    assert only(states[2], "avatar") == (-10, 0, {})
    assert scores(states) == [0, 2, 4]


# Health.


@pytest.mark.parametrize(("own", "kept"), [("", 0), (" healthPoints=2", 2)])
def test_a_transformed_sprite_keeps_its_health_also_if_it_has_none(own, kept):
    sprites = [f"egg > Passive{own}", "bird > Passive healthPoints=3 maxHealthPoints=5"]
    states = play(sprites, ["e > egg"], ["egg avatar > transformTo stype=bird"], ["Ae"], [R])
    assert only(states[1], "bird") == (10, 0, {"hp": kept})


def test_a_transformed_sprite_has_the_maximum_of_its_new_type():
    # It has none: at 0 health points, nothing is left to show.
    sprites = ["egg > Passive healthPoints=1", "bird > Immovable"]
    rules = ["egg avatar > transformTo stype=bird", "bird wall > subtractHealthPoints limit=-9"]
    states = play(sprites, ["e > egg wall"], rules, ["Ae"], [R, N])
    assert [only(state, "bird") for state in states[1:]] == [(10, 0, {}), (10, 0, {"hp": -1})]


def test_health_points_of_a_type_are_those_of_its_oldest_sprite():
    sprites = ["foe >", "    ork > Passive healthPoints=5", "    imp > Passive healthPoints=5"]
    rules = ["avatar wall > subtractHealthPoints stype=foe value=2"]
    states = play(sprites, ["o > ork", "i > imp"], rules, ["Awooii"], [R])
    health = [(kind, x, extras[0]["hp"]) for kind, x, _, *extras in states[1]["sprites"] if extras]
    # Of a parent, the last of its types that has sprites.
    assert health == [("imp", 40, 3), ("imp", 50, 5), ("ork", 20, 5), ("ork", 30, 5)]
    # Where there is none, the first sprite is hit.
    states = play(sprites, [], rules, ["Aw"], [R, N])
    assert only(states[1], "avatar") == (10, 0, {"hp": -2, "disabled": True})


def test_adding_health_takes_no_notice_of_a_type():
    sprites = ["ork > Passive healthPoints=5"]
    rules = ["avatar wall > addHealthPoints stype=ork"]
    states = play(sprites, ["o > ork"], rules, ["Awo"], [R])
    assert only(states[1], "avatar") == (10, 0, {"hp": 1})
    assert only(states[1], "ork") == (20, 0, {"hp": 5})


# Transformation.


def test_transforming_all_means_one_type_and_revives_a_killed_avatar():
    sprites = ["avatar >", "    man > MovingAvatar", "    ghost > MovingAvatar"]
    rules = ["man wall > killSprite", "man wall > transformToAll stype=man stypeTo=ghost"]
    states = play(sprites, ["A > man"], rules, ["Aw "], [R, R])
    assert only(states[1], "ghost") == (10, 0, {})
    assert only(states[2], "ghost") == (20, 0, {})
    rules = ["man wall > transformToAll stype=avatar stypeTo=ghost scoreChange=1"]
    states = play(sprites, ["A > man"], rules, ["Aw "], [R])
    assert only(states[1], "man") == (10, 0, {})  # a parent's name means nothing here
    assert scores(states) == [0, 1]


def test_a_born_avatar_that_is_transformed_takes_over():
    sprites = ["egg > Passive", "man > MovingAvatar", "ghost > MovingAvatar"]
    rules = ["egg wall > transformTo stype=man", "man wall > transformTo stype=ghost"]
    level = ["A   ", "e   "]
    states = play(sprites, ["A > man", "e > egg wall"], rules, level, [N, R, R])
    assert only(states[3], "ghost") == (20, 10, {})
    assert only(states[3], "man") == (0, 0, {})


# The rest.


def test_undoing_all_spares_the_very_type_only():
    sprites = ["ball >", "    red > Missile orientation=RIGHT", "    blue > Missile orientation=UP"]
    for spared, moved in (("red", True), ("ball", False)):
        rules = [f"avatar wall > undoAll notStype={spared}"]
        states = play(sprites, ["r > red"], rules, ["Aw", "r "], [R, R])
        assert only(states[2], "red")[0] == (10 if moved else 0)


def test_spending_stops_at_nothing():
    sprites = ["coin > Resource", "loaf > Passive"]
    rules = [
        "coin avatar > collectResource",
        "avatar wall > spawnIfHasMore resource=coin limit=1 stype=loaf spend=2",
        "coin wall > killSprite",
    ]
    states = play(sprites, ["c > coin"], rules, ["Acwc"], [R, R, R])
    assert only(states[1], "avatar")[2] == {"res": {"coin": 1}}
    assert only(states[2], "avatar")[2] == {}
    assert only(states[3], "avatar")[2] == {"res": {"coin": 1}}  # not 0 after 1 - 2 + 1


def test_only_an_oriented_sprite_turns_in_place():
    states = play(["avatar > MovingAvatar rotateInPlace=True"], [], [], [" A"], [L])
    assert only(states[1], "avatar") == (0, 0, {})
    sprites = ["avatar > MovingAvatar rotateInPlace=True orientation=UP cooldown=9"]
    states = play(sprites, [], [], [" A"], [L])
    assert only(states[1], "avatar") == (10, 0, {"ori": [-1, 0]})


def test_gazing_at_a_sprite_without_direction_aligns_the_column():
    sprites = ["eye > Missile speed=0.3 orientation=RIGHT", "still > Missile"]
    rules = ["eye still > attractGaze align=True"]
    states = play(sprites, ["e > eye", "s > still"], rules, ["es", " A"], [N, N])
    assert only(states[2], "eye") == (10, 0, {})


def test_a_random_missile_looks_nowhere_until_it_is_updated():
    sprites = ["comet > RandomMissile", "gun > SpawnPoint stype=comet orientation=LEFT total=1"]
    states = play(sprites, ["g > gun"], [], ["g A"], [N])
    # Defined before its producer, it is updated in the tick of its birth, and draws.
    assert only(states[1], "comet")[2]["ori"] in ([1, 0], [-1, 0], [0, 1], [0, -1])
    states = play(sprites[::-1], ["g > gun"], [], ["g A"], [N])
    assert only(states[1], "comet") == (0, 0, {"ori": [-1, -1]})


def test_a_pull_may_end_on_the_carrier():
    sprites = ["log > Missile orientation=RIGHT speed=0.5"]
    rules = ["avatar log > pullWithIt pixelPerfect=True"]
    states = play(sprites, ["A > log avatar"], rules, ["A  "], [N, R])
    assert only(states[2], "avatar") == (*only(states[2], "log")[:2], {})


def test_the_nearest_parents_class_counts():
    sprites = [
        "thing > Immovable",
        "    live > Missile orientation=RIGHT",
        "        hare > Passive",
        "    tree > Passive speed=1",
    ]
    states = play(sprites, ["h > hare", "t > tree"], [], ["hA", "t "], [N, N])
    assert only(states[2], "hare")[0] == 10
    assert only(states[2], "tree")[0] == 0


# Room.


def test_a_chain_of_births_in_one_tick_has_room():
    sprites = ["a > Immovable", "b > Immovable", "c > Immovable", "d > Immovable"]
    rules = ["avatar wall > transformToAll stype=a stypeTo=b"]
    rules += ["avatar wall > transformToAll stype=b stypeTo=c"]
    rules += ["avatar wall > transformToAll stype=c stypeTo=d"]
    level = ["Aw" + "a" * 60, *["a" * 62] * 5]
    states = play(sprites, ["a > a"], rules, level, [R])
    assert sum(sprite[0] == "d" for sprite in states[1]["sprites"]) == 370
