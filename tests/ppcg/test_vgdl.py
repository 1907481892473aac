"""Games in VGDL: what is understood, and how everything else is refused, by name and line."""

import tracemalloc

import numpy as np
import pytest

from sidle.errors import DataError, DataNotFoundError
from sidle.ppcg import vgdl, vocabulary
from sidle.ppcg.kernels import codes
from sidle.ppcg.vgdl import compile_game

GAME = """BasicGame
    SpriteSet
        goal > Door color=GREEN
        gem > Resource limit=3 value=2
        enemy >
            slow > Chaser stype=avatar cooldown=4
            quick > RandomNPC speed=0.5
        avatar > ShootAvatar stype=shot
        shot > OrientedFlicker limit=2
    LevelMapping
        g > goal
        d > gem
        e > slow
        q > quick
        A > avatar
    InteractionSet
        avatar wall EOS > stepBack
        gem avatar > collectResource scoreChange=1
        enemy shot > killSprite scoreChange=2
        avatar enemy > killSprite
        goal avatar > killIfOtherHasMore resource=gem limit=2
    TerminationSet
        SpriteCounter stype=goal limit=0 win=True
        SpriteCounter stype=avatar limit=0 win=False
"""
LEVEL = "wwwww\nwA gw\nw deq\nwwwww"


@pytest.fixture(scope="module")
def game():
    return compile_game(GAME, name="small")


def refused(text):
    with pytest.raises(DataError) as caught:
        compile_game(text, path="mine.vgdl")
    return caught.value


# What is understood.


def test_types_are_the_leaves_in_order_with_their_classes_and_parameters(game):
    assert game.types == ("wall", "goal", "gem", "slow", "quick", "avatar", "shot")
    assert game.classes == (
        "Immovable", "Door", "Resource", "Chaser", "RandomNPC", "ShootAvatar", "OrientedFlicker",
    )  # fmt: skip
    assert game.parameters[1] == {"color": "GREEN"}
    assert game.parameters[3] == {"stype": "avatar", "cooldown": "4"}
    assert game.subtypes["enemy"] == (3, 4)
    assert game.subtypes["gem"] == (2,)


def test_wall_and_avatar_exist_without_a_definition():
    game = compile_game("BasicGame\n  InteractionSet\n    avatar wall > stepBack\n")
    assert game.types == ("wall", "avatar")
    assert game.classes == ("Immovable", "MovingAvatar")
    assert game.mapping == {"w": ("wall",), "A": ("avatar",)}
    assert game.level("wwww\nw Aw\nwwww").rows == ("wwww", "w Aw", "wwww")


def test_actions_resources_and_channels_follow_from_the_rules(game):
    assert game.actions == vocabulary.ACTIONS
    assert game.resources == ("gem",)
    shared = ("orientation_x", "orientation_y", "offset_x", "offset_y")
    assert game.channels == (*game.types, *shared, "resource:gem")
    plain = compile_game(GAME.replace("ShootAvatar stype=shot", "MovingAvatar"))
    assert plain.actions == vocabulary.ACTIONS[:5]
    healthy = compile_game(
        GAME.replace("avatar enemy > killSprite", "avatar enemy > subtractHealthPoints value=1")
    )
    assert healthy.channels[-1] == "health"


def test_a_childs_parameters_win_but_a_parents_class_does():
    text = """BasicGame
    SpriteSet
        group > Missile speed=0.5 orientation=UP
            one > speed=1
            two > Immovable cooldown=3
"""
    game = compile_game(text)
    assert game.classes[-2:] == ("Missile", "Missile")
    assert game.parameters[-2] == {"speed": "1", "orientation": "UP"}
    assert game.parameters[-1] == {"speed": "0.5", "orientation": "UP", "cooldown": "3"}


def test_comments_tabs_and_empty_lines_do_not_count():
    text = "# title\n\nBasicGame # here\n\tSpriteSet\n\n\t\ta > Immovable # > Missile\n"
    assert "a" in compile_game(text).types


def test_pair_rules_run_where_their_pair_is_first_mentioned():
    text = """BasicGame
    InteractionSet
        avatar wall > killSprite
        wall avatar > killSprite
        avatar wall > stepBack
"""
    effects = compile_game(text).tables.rules[:, codes.R_EFFECT].tolist()
    assert effects == [codes.KILL_SPRITE, codes.STEP_BACK, codes.KILL_SPRITE]


def test_each_rule_of_the_edge_runs_once_for_each_rule_of_its_type():
    text = """BasicGame
    SpriteSet
        a > Missile
        b > Missile
    InteractionSet
        a EOS > reverseDirection
        b EOS > killSprite
        a EOS > stepBack
"""
    tables = compile_game(text).tables
    assert tables.n_edge_rules == 5
    assert tables.rules[:5, codes.R_EFFECT].tolist() == [
        codes.REVERSE_DIRECTION, codes.STEP_BACK, codes.KILL_SPRITE,
        codes.REVERSE_DIRECTION, codes.STEP_BACK,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("speed", "pixels"),
    [("0.05", 0), ("0.1", 1), ("0.15", 1), ("0.25", 2), ("0.33", 3), ("0.75", 7), ("1", 10)],
)
def test_speeds_are_whole_pixels(speed, pixels):
    game = compile_game(f"BasicGame\n  SpriteSet\n    a > Missile orientation=UP speed={speed}\n")
    assert game.tables.types[-1, codes.T_PIXELS] == pixels


def test_the_vocabulary_has_the_42_names():
    assert len(vocabulary.CLASSES) == 18
    assert len(vocabulary.EFFECTS) == 21
    assert len(vocabulary.TERMINATIONS) == 3


def test_what_is_legal_and_probably_not_meant_is_a_warning():
    text = GAME.replace(
        "        avatar enemy > killSprite\n",
        "        avatar enemy > killSprite\n            avatar gem > stepBack\n",
    )
    (warning,) = compile_game(text).warnings
    assert warning.startswith("line 21: 'avatar gem > stepBack' is indented below line 20")
    (warning,) = compile_game(GAME.replace("win=True", "win=False")).warnings
    assert "cannot be won" in warning
    (warning,) = compile_game(GAME.replace("        q > quick\n", "")).warnings
    assert warning.startswith("line 7: 'quick' never appears")
    assert compile_game(GAME).warnings == ()


def test_a_rule_indented_too_deep_is_ignored_as_in_vgdl():
    deep = "        avatar enemy > killSprite\n            avatar gem > stepBack\n"
    text = GAME.replace("        avatar enemy > killSprite\n", deep)
    assert len(compile_game(text).tables.rules) == len(compile_game(GAME).tables.rules)


# What is refused.


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        # Unknown names, with what was probably meant.
        ("RandomNPC", "RandomNCP", 7, "unknown sprite class 'RandomNCP'. Did you mean 'RandomNPC'"),
        ("RandomNPC", "Walker", 7, "unknown sprite class 'Walker'."),
        ("> stepBack", "> stepBck", 17, "unknown effect 'stepBck'. Did you mean 'stepBack'"),
        ("> stepBack", "> teleportToExit", 17, "unknown effect 'teleportToExit'."),
        ("SpriteCounter stype=goal", "SpriteCount stype=goal", 23,
         "unknown termination 'SpriteCount'. Did you mean 'SpriteCounter'"),
        ("cooldown=4", "coldown=4", 6,
         "unknown sprite parameter 'coldown'. Did you mean 'cooldown'"),
        ("scoreChange=2", "scorechange=2", 19,
         "unknown parameter of killSprite 'scorechange'. Did you mean 'scoreChange'"),
        ("stype=goal limit", "stype=goal limits", 23,
         "unknown parameter of SpriteCounter 'limits'"),
        ("    LevelMapping", "    LevelMappings", 10, "unknown section 'LevelMappings'."),
        # Undefined types.
        ("enemy shot", "enmy shot", 19, "unknown sprite type 'enmy'. Did you mean 'enemy'"),
        ("stype=shot", "stype=bullet", 8, "unknown sprite type 'bullet'"),
        ("stype=avatar cool", "stype=hero cool", 6, "unknown sprite type 'hero'"),
        ("stype=goal", "stype=gaol", 23, "unknown sprite type 'gaol'. Did you mean 'goal'"),
        ("g > goal", "g > gaol", 11, "unknown sprite type 'gaol'"),
        ("resource=gem", "resource=coin", 21, "unknown sprite type 'coin'"),
        ("resource=gem", "resource=goal", 21, "'goal' is not a type of class Resource"),
        # Several where one is needed.
        ("stype=shot", "stype=enemy", 8, "names 'enemy', which has subtypes. Name one of them: sl"),
        ("e > slow", "e > enemy", 13, "places 'enemy', which has subtypes"),
        ("stype=shot", "stype=shot,gem", 8, "unknown sprite type 'shot,gem'"),
        # Defined twice, or inside itself.
        ("shot > OrientedFlicker", "gem > OrientedFlicker", 9, "'gem' is defined twice"),
        ("quick > RandomNPC", "enemy > RandomNPC", 7,
         "'enemy' is defined twice, the second time inside itself"),
        ("q > quick", "e > quick", 14, "character 'e' is mapped twice"),
        ("quick > RandomNPC speed", "EOS > RandomNPC speed", 7, "'EOS' is no name"),
        # Values.
        ("cooldown=4", "cooldown=four", 6, "cooldown=four: expected a whole number"),
        ("cooldown=4", "cooldown=4.5", 6, "expected a whole number"),
        ("cooldown=4", "cooldown=inf", 6, "expected a whole number"),
        ("cooldown=4", "cooldown=1e9", 6, "expected a whole number"),
        ("cooldown=4", "cooldown=-1", 6, "cooldown=-1: expected a whole number of at least"),
        ("speed=0.5", "speed=-0.5", 7, "speed=-0.5: expected a number of at least 0"),
        ("speed=0.5", "speed=nan", 7, "expected a number of at least 0"),
        ("speed=0.5", "prob=1.5", 7, "prob=1.5: expected a number from 0 to 1"),
        ("speed=0.5", "orientation=NORTH", 7, "expected UP, DOWN, LEFT or RIGHT"),
        ("win=True", "win=yes", 23, "win=yes: expected True or False"),
        ("scoreChange=2", "scoreChange=", 19, "expected key=value, found 'scoreChange='"),
        ("scoreChange=2", "scoreChange=2 scoreChange=3", 19, "parameter scoreChange comes twice"),
        ("scoreChange=2", "scoreChange = 2", 19, "expected key=value, found '='"),
        # What is needed and missing.
        (" win=True", "", 23, "SpriteCounter needs win="),
        (" resource=gem", "", 21, "killIfOtherHasMore needs resource="),
        ("Chaser stype=avatar", "Chaser", 6, "'slow' is a Chaser without stype="),
        ("quick > RandomNPC speed=0.5", "quick > SpawnPoint", 7, "is a SpawnPoint without stype="),
        ("quick > RandomNPC", "quick >", 7, "sprite type 'quick' has no class"),
        # Shapes of lines.
        ("quick > RandomNPC", "quick RandomNPC", 7, "expected 'name > description'"),
        ("quick > RandomNPC", "quick > RandomNPC Chaser", 7, "expected one class for 'quick'"),
        ("enemy shot >", "enemy >", 19, "a rule names two sprite types or more"),
        ("enemy shot > killSprite", "enemy shot > killSprite stepBack", 19, "expected one effect"),
        ("e > slow", "ee > slow", 13, "expected one printable ASCII character"),
        ("e > slow", "é > slow", 13, "expected one printable ASCII character"),
        ("e > slow", "e > slow cooldown=2", 13, "a level mapping takes no parameters"),
        # The edge, time and physics.
        ("avatar wall EOS", "EOS avatar", 17, "EOS cannot come first"),
        ("gem avatar > collect", "gem EOS > collect", 18, "collectResource needs a second sprite"),
        ("avatar wall EOS", "TIME avatar", 17, "timed rules (TIME) are not supported"),
        ("speed=0.5", "physicstype=GRAVITY", 7, "physicstype=GRAVITY is not supported"),
        ("BasicGame", "BasicGam", 1, "expected 'BasicGame' as the first line"),
        ("    InteractionSet", "    LevelMapping", 16, "section LevelMapping comes twice"),
        ("    InteractionSet", "InteractionSet", 16, "'InteractionSet' stands outside of BasicG"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_named_with_its_line(old, new, line, message):
    assert old in GAME
    error = refused(GAME.replace(old, new, 1))
    assert error.line == line
    assert str(error).startswith(f"mine.vgdl:{line}: ")
    assert message in str(error)


def test_nothing_and_too_much_are_refused():
    assert "the text is empty" in str(refused(""))
    assert "the text is empty" in str(refused("# only a comment\n\n"))
    assert "at most 1000000 are read" in str(refused("BasicGame\n" + " " * 1_000_000))
    many = "".join(f"    t{i} > Immovable\n" for i in range(63))
    error = refused("BasicGame\n  SpriteSet\n" + many)
    assert "at most 63 are supported" in str(error)


def test_deep_nesting_is_refused_and_does_not_crash():
    lines = ["BasicGame", " SpriteSet", *(" " * (i + 2) + f"t{i} >" for i in range(1200))]
    assert "deeper than 50" in str(refused("\n".join(lines)))


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    with pytest.raises(DataNotFoundError, match="There is no file"):
        vgdl.read_game(tmp_path / "none.vgdl")
    binary = tmp_path / "binary.vgdl"
    binary.write_bytes(b"BasicGame\xff\xfe")
    with pytest.raises(DataError, match="not a text in UTF-8"):
        vgdl.read_game(binary)
    path = tmp_path / "mine.vgdl"
    path.write_text(GAME)
    assert vgdl.read_game(path).name == "mine"


def test_random_damage_never_does_more_than_raise_a_data_error():
    """Whatever happens to a text, it compiles or is refused with a line of the text."""
    rng = np.random.default_rng(0)
    words = [*vocabulary.CLASSES, *vocabulary.EFFECTS, "EOS", ">", "=", "stype=avatar", "\n", "  ",
             "limit=-3", "#", "\x00", "ü", "avatar", "wall", "singleton=True"]  # fmt: skip
    lines = []  # of the errors, and how many the text has
    for _ in range(400):
        text = GAME
        for _ in range(rng.integers(1, 4)):
            at = rng.integers(len(text))
            cut = rng.integers(0, 12)
            text = text[:at] + rng.choice(["", *words]) + text[at + cut :]
        try:
            compile_game(text, name="damaged")
        except DataError as error:
            lines.append((error.line, text.count("\n") + 1))
    assert len(lines) > 100  # the damage is real
    assert all(line is None or 1 <= line <= last for line, last in lines)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("quick >", "qu\x00ick >", r"character '\x00' in the line. Is this a VGDL description?"),
        ("quick >", "quick" * 200 + " >", "a line of 1034 characters; at most 1000 are read."),
    ],
)
def test_what_is_no_text_is_refused_before_it_is_quoted(old, new, message):
    error = refused(GAME.replace(old, new))
    assert (error.line, str(error).isprintable()) == (7, True)
    assert message in str(error)


def test_files_of_other_systems_are_read_alike(tmp_path):
    path = tmp_path / "mine.vgdl"
    # A byte order mark and line ends as Windows writes them; tabs for blanks.
    text = GAME.replace("        ", "\t\t").replace("    ", "\t").replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    read, plain = vgdl.read_game(path), compile_game(GAME)
    assert (read.types, read.mapping) == (plain.types, plain.mapping)
    assert (read.tables.rules == plain.tables.rules).all()
    path.write_bytes(b"\xef\xbb\xbf" + f"{LEVEL}\n\n{LEVEL}\n".replace("\n", "\r\n").encode())
    assert read.levels(vgdl.read_text(path)) == (read.level(LEVEL),) * 2


# Levels.


def test_a_level_is_text_rows_or_codes(game):
    level = game.level(LEVEL)
    assert (level.height, level.width) == (4, 5)
    assert level.rows == ("wwwww", "wA gw", "w deq", "wwwww")
    assert game.level(level.rows) == level == game.level(level.characters)
    assert game.level(f"\n\n{LEVEL}\n\n") == level
    assert hash(game.level(LEVEL)) == hash(level)
    with pytest.raises(ValueError, match="read-only"):
        level.characters[0, 0] = 0


def test_a_file_has_levels_divided_by_empty_lines(game):
    levels = game.levels(f"{LEVEL}\n\n\nwww\nwAw\nwww\n")
    assert [level.height for level in levels] == [4, 3]
    with pytest.raises(DataError, match="no level in it"):
        game.levels("\n\n")


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        ("www\nwA\nwww", 2, "row 2 has 2 characters, the rows above have 3"),
        ("www\nwAx\nwww", 2, "character 'x' in row 2, column 3 has no meaning"),
        ("www\nwA\tw\nwww", 2, "row 2 has 4 characters"),
        ("wwww\nwA\tw\nwwww", 2, r"character '\\t' in row 2, column 3 has no meaning"),
        ("www\nwAé\nwww", 2, "character 'é' in row 2, column 3 has no meaning"),
        ("www\nwAw\n ", 3, "row 3 has 1 characters, .* To divide levels, take its blanks away"),
        ("www\nw w\nwww", 1, "no avatar in the level. Place exactly one; it is written 'A'"),
        ("www\nAwA\nwww", 2, "2 avatars in the level"),
        ("wAw\nw w\nwAA", 3, "3 avatars in the level"),
        ("", None, "the level has no rows"),
        ("\n \n", 2, "no avatar"),
    ],
)
def test_a_malformed_level_is_named_with_its_line(game, rows, line, message):
    with pytest.raises(DataError, match=message) as caught:
        game.level(rows, path="levels.txt")
    assert caught.value.line == line
    with pytest.raises(DataError, match=message) as caught:
        game.level(rows, path="levels.txt", first_line=11)
    assert caught.value.line == (None if line is None else line + 10)


def test_the_line_counts_from_the_top_of_a_file_of_levels(game):
    with pytest.raises(DataError, match=r"^levels\.txt:7: character 'x'"):
        game.levels(f"{LEVEL}\n\n\nwAx", path="levels.txt")


@pytest.mark.parametrize("shape", [(256, 1), (1, 256), (101, 100), (10_000, 10_000)])
def test_a_level_that_is_too_large_is_refused(game, shape):
    message = f"the level has {shape[0]} rows of {shape[1]} characters"
    row = "w" * shape[1]
    with pytest.raises(DataError, match=message) as caught:
        game.level([row] * shape[0], first_line=8)
    assert caught.value.line == 8


def test_a_huge_level_is_refused_before_anything_is_allocated(game):
    row = "w" * 10_000
    rows = [row] * 10_000  # one text, 10,000 times: 80 KB
    codes_HW = np.broadcast_to(np.uint8(ord("w")), (10_000, 10_000))
    tracemalloc.start()
    for level in (rows, codes_HW):
        with pytest.raises(DataError, match="10000 rows of 10000"):
            game.level(level)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The level has 100 MB; a list of its rows has 80 KB.
    assert peak < 1_000_000


def test_a_huge_file_is_refused_before_it_is_read(game, tmp_path):
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.truncate(10_001 * 10_000)
    with pytest.raises(DataError, match="100010000 bytes; at most 4000000 are read"):
        vgdl.read_text(path)


def test_avatars_are_counted_through_every_character(game):
    both = compile_game(GAME.replace("q > quick", "q > avatar quick"))
    with pytest.raises(DataError, match="Place exactly one; it is written 'q' or 'A'"):
        both.level("wqA")
    assert both.level("wqw").rows == ("wqw",)


def test_codes_must_be_bytes(game):
    wide = np.array([[119, 65 + 256, 119]])
    with pytest.raises(DataError, match="expected uint8 codes of shape"):
        game.level(wide)
