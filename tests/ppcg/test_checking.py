"""`checking`: games of one's own, read and played at random."""

import pytest

from sidle.errors import ArgumentError, DataError, DataNotFoundError
from sidle.ppcg import checking, games, playable
from sidle.ppcg.rooms import RoomError

RULES = """BasicGame
    SpriteSet
        goal > Door
        trap > Immovable
    LevelMapping
        g > goal
        t > trap
    InteractionSet
        avatar wall EOS > stepBack
        goal avatar > killSprite scoreChange=5
        avatar trap > killSprite
    TerminationSet
        SpriteCounter stype=goal limit=0 win=True
        SpriteCounter stype=avatar limit=0 win=False
        Timeout limit=50 win=False
"""


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "mine.vgdl"
    path.write_text(RULES)
    return path


def test_random_play_says_how_hard_each_level_is(rules):
    # In the corridor each tick leads left, right or nowhere; only the right end has a goal.
    rules.with_suffix(".txt").write_text("wwwww\nwA gw\nwwwww\n\nwwwww\nwAtwg\nwwwww\n\nwAw\nwgw\n")
    easy, deadly, near = checking.check(rules, episodes=200).levels
    assert (easy.height, easy.width, near.height, near.width) == (3, 5, 3, 5)
    # A walk of 51 ticks over two cells with chance 1/5 each way misses a goal with 2 per cent.
    assert easy.won > 0.9
    assert 4 < easy.score <= 5
    assert deadly.won == 0
    assert deadly.score == 0
    # The first step to the right, chance 1/5 a tick: 5 ticks on average, 0.3 standard error.
    assert 3.5 < deadly.length < 6.5
    assert deadly.longest <= 51
    assert near.won == 1
    assert 3.5 < near.length < 6.5


def test_the_same_seed_gives_the_same_report(rules):
    rules.with_suffix(".txt").write_text("wwwww\nwA gw\nwwwww\n")
    first = checking.check(rules, seed=1)
    assert checking.check(rules, seed=1).levels == first.levels
    assert checking.check(rules, seed=2).levels != first.levels


def test_without_levels_the_rules_alone_are_checked(rules):
    report = checking.check(rules)
    assert report.levels == ()
    (warning,) = report.warnings
    assert "there are no levels beside the rules" in warning
    assert "mine.txt" in warning


def test_nothing_is_played_where_no_episodes_are_asked_for(rules):
    rules.with_suffix(".txt").write_text("wAgtw\n")
    (level,) = checking.check(rules, episodes=0).levels
    assert level.won != level.won
    assert level.longest == 0


def test_a_level_that_is_over_at_once_is_noticed(rules):
    rules.with_suffix(".txt").write_text("wAggw\n\nwA  w\n")
    report = checking.check(rules)
    assert report.warnings == ("level 1 is over after its first tick, whatever one does.",)


def test_levels_are_searched_for_ways_to_win(rules):
    # Around the trap to the goal; and a goal behind a trap that kills.
    levels = "wwwww\nwA  w\nw tgw\nwwwww\n\nwwwww\nwAtgw\nwwwww\n"
    rules.with_suffix(".txt").write_text(levels)
    report = checking.check(rules, episodes=0, solve=True)
    assert [(one.solution, one.complete) for one in report.levels] == [(3, True), (None, True)]
    (warning,) = report.warnings
    assert warning.startswith("level 1 cannot be won within 300 ticks")
    played = checking.check(rules, episodes=3).levels
    assert [(one.solution, one.complete) for one in played] == [(None, False)] * 2


def test_the_search_is_led_to_what_must_go():
    game = playable.find("zelda").game
    assert checking._goals(game) == ("exit",)
    assert checking._goals(playable.find("nightwatch").game) == ()


def test_sprites_without_end_are_noticed(rules):
    # Each tick that the avatar stands among the traps doubles them.
    endless = RULES.replace("avatar trap > killSprite", "trap avatar > spawn stype=trap")
    rules.write_text(endless)
    rules.with_suffix(".txt").write_text("wAtwg\n")
    with pytest.raises(RoomError, match="'trap' multiplied"):
        checking.check(rules)


@pytest.mark.parametrize("episodes", [-1, 1001])
def test_the_number_of_episodes_has_bounds(episodes):
    with pytest.raises(ArgumentError, match="from 0 to 1000"):
        checking.check("zelda", episodes=episodes)


def test_what_is_malformed_or_missing_is_refused(rules, tmp_path):
    rules.with_suffix(".txt").write_text("wAw\nww\n")
    with pytest.raises(DataError, match=r"mine\.txt:2: row 2 has 2 characters"):
        checking.check(rules)
    with pytest.raises(DataNotFoundError):
        checking.check(tmp_path / "other.vgdl")
    with pytest.raises(DataNotFoundError):
        checking.check(rules, levels=tmp_path / "other.txt")


@pytest.mark.parametrize("name", games.names())
def test_the_built_in_games_are_in_order(name):
    report = checking.check(name, episodes=2)
    assert len(report.levels) == 5
    assert report.warnings == ()
