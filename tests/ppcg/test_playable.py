"""Built-in games, files of the user's own, and what is wrong with them."""

import pytest

from sidle.errors import ArgumentError, DataError, DataNotFoundError
from sidle.ppcg import games, playable

RULES = """# Key run
# Fetch the key.
BasicGame
    SpriteSet
        wall > Immovable
        key > Immovable
        avatar > MovingAvatar
    InteractionSet
        avatar wall > stepBack
        key avatar > killSprite scoreChange=1
    TerminationSet
        SpriteCounter stype=key limit=0 win=True
    LevelMapping
        w > wall
        k > key
        A > avatar
"""
SMALL, LARGE = "wwwww\nwA kw\nwwwww\n", "wwwwwww\nwA    w\nw    kw\nwwwwwww\n"


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.vgdl"
    path.write_text(RULES)
    return path


@pytest.mark.parametrize("name", games.names())
def test_a_built_in_game_comes_with_its_levels_and_generator(name):
    stage = playable.find(name)
    assert (stage.game.name, stage.title) == (name, games.load(name).title)
    assert len(stage.levels) == 5
    assert {(level.height, level.width) for level in stage.levels} == {stage.shape}
    made = stage.generated(0.5, 7)
    assert made == stage.generated(0.5, 7)
    assert (made.height, made.width) == stage.shape


def test_levels_lie_beside_the_rules_in_one_file_or_in_several(mine):
    beside = mine.with_suffix(".txt")
    beside.write_text(f"{SMALL}\n{LARGE}")
    one = playable.find(mine)
    beside.unlink()
    for index, rows in ((10, SMALL), (2, LARGE)):
        mine.with_name(f"mine_{index}.txt").write_text(rows)
    several = playable.find(mine)
    assert [level.rows[1] for level in one.levels] == ["wwA kww", "wA    w"]
    assert several.levels == one.levels[::-1]  # 2 before 10
    assert one.shape == (4, 7)
    assert (one.title, one.summary) == ("Key run", "Fetch the key.")


def test_a_file_of_levels_may_be_named(mine, tmp_path):
    elsewhere = tmp_path / "elsewhere.txt"
    elsewhere.write_text(SMALL)
    assert playable.find(mine, levels=elsewhere).shape == (3, 5)
    zelda = tmp_path / "zelda.txt"
    zelda.write_text("wwwww\nwA +g\nwwwww\n")
    stage = playable.find("zelda", levels=zelda)
    assert len(stage.levels) == 1
    assert stage.shape == playable.find("zelda").shape


def test_levels_like_the_users_own_are_generated(mine):
    mine.with_suffix(".txt").write_text(f"{SMALL}\n{LARGE}")
    level = playable.find(mine).generated(1.0, 3)
    assert (level.height, level.width) == (4, 7)
    assert sum(row.count("k") for row in level.rows) == 1


def test_without_walls_levels_keep_their_size_and_none_are_generated(tmp_path):
    path = tmp_path / "open.vgdl"
    path.write_text(RULES)
    path.with_suffix(".txt").write_text("A k\n\nA  k\n")
    stage = playable.find(path)
    assert [level.width for level in stage.levels] == [3, 4]
    assert stage.generator is None
    with pytest.raises(ArgumentError, match="after levels with walls, of 3 to 64"):
        stage.generated(0.5, 0)


def test_titles_fall_back_to_the_name(tmp_path):
    path = tmp_path / "key_run.vgdl"
    path.write_text(RULES.split("\n", 2)[2])
    path.with_suffix(".txt").write_text(SMALL)
    stage = playable.find(path)
    assert (stage.title, stage.summary) == ("Key run", "")


def test_a_name_that_does_not_exist_is_answered_with_the_nearest():
    with pytest.raises(ArgumentError, match=r"no game 'zelad'\. Did you mean 'zelda'\?.*frogs"):
        playable.find("zelad")


@pytest.mark.parametrize("name", ["none.vgdl", "folder/none", "none.txt"])
def test_a_file_that_does_not_exist_is_named(name):
    with pytest.raises(DataNotFoundError, match=name):
        playable.find(name)


def test_rules_without_levels_say_where_to_write_some(mine):
    with pytest.raises(DataNotFoundError, match=r"no levels beside it.*mine\.txt.*--levels"):
        playable.find(mine)


def test_a_bad_level_is_named_by_file_and_line(mine):
    mine.with_suffix(".txt").write_text(f"{SMALL}\nwwwww\nwA?kw\nwwwww\n")
    with pytest.raises(DataError, match=r"mine\.txt:6: character '\?'"):
        playable.find(mine)
