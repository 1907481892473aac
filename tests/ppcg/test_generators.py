"""Level generators against the published counts, their own formulas, and floods written plainly."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sidle.errors import ArgumentError, ShapeError
from sidle.ppcg import games, generators, search, vgdl

ROOT = Path(__file__).parents[2]
N = 2000
# Mean counts at difficulty 0, 0.5 and 1 as published, and the share they may be off by.
PUBLISHED = [
    ("zelda", "123", (0.145, 1.3, 2.4), 0.15),
    ("zelda", "w", (45, 45, 56), 0.15),
    ("solarfox", "bp", (6, 19, 34), 0.15),
    ("boulderdash", "o", (0, 8.3, 17), 0.15),
    ("boulderdash", "cb", (0, 3.5, 11.4), 0.15),
    ("boulderdash", "x", (14.5, 14.8, 12.4), 0.15),
    ("frogs", "~=s", (0, 20, 49), 0.35),
    ("frogs", "=", (0, 7, 15), 0.35),
    ("frogs", "lLrR", (0, 5, 9.5), 0.35),
]
DIFFICULTIES = (0.0, 0.5, 1.0)


def many(name, difficulty, n=N, first=0):
    return generators.find(name).generate_many([difficulty] * n, np.arange(first, first + n))


def counted(grids, characters):
    return np.isin(grids, np.frombuffer(characters.encode(), np.uint8)).sum(axis=(-2, -1))


def cells(grid, characters):
    return [tuple(cell) for cell in np.argwhere(counted(grid[..., None, None], characters) > 0)]


def reached(grid, start, blocking):
    """Return the cells that can be walked to from ``start``."""
    found, todo = {start}, [start]
    while todo:
        y, x = todo.pop()
        for cell in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if cell not in found and chr(grid[cell]) not in blocking:
                found.add(cell)
                todo.append(cell)
    return found


@pytest.mark.parametrize(("name", "characters", "published", "share"), PUBLISHED)
def test_mean_counts_are_the_published_ones(name, characters, published, share):
    for difficulty, expected in zip(DIFFICULTIES, published, strict=True):
        mean = counted(many(name, difficulty), characters).mean()
        assert mean == pytest.approx(expected, rel=share)


@pytest.mark.parametrize("difficulty", [0.0, 0.3, 0.5, 1.0])
def test_zeldas_monsters_are_as_many_as_the_formula_says(difficulty):
    u = (np.arange(100_000) + 0.5) / 100_000
    drawn = np.floor((0.4 * difficulty + 0.2 * u) * 0.05 * 117)
    counts = counted(many("zelda", difficulty, 20_000), "123")
    # Five standard errors; the second term is for a spread of 0.
    error = 5 * drawn.std() / np.sqrt(len(counts)) + 1e-9
    assert counts.mean() == pytest.approx(drawn.mean(), abs=error)


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_boulderdashs_gems_are_as_many_as_the_formula_says(difficulty):
    rng = np.random.default_rng(0)
    u = rng.random((3, 200_000))
    area = (np.floor(14 * difficulty + 2 * u[0]) + 10) * (np.floor(difficulty + 2 * u[1]) + 10)
    drawn = 10 + np.floor((0.7 * (1 - difficulty) + 0.1 + 0.2 * u[2]) * 0.05 * area)
    counts = counted(many("boulderdash", difficulty), "x")
    assert counts.mean() == pytest.approx(drawn.mean(), abs=5 * drawn.std() / np.sqrt(N))


@pytest.mark.parametrize("name", games.names())
def test_difficulty_and_seed_make_the_level(name):
    generator = generators.find(name)
    difficulties, seeds = np.linspace(0, 1, 50), np.arange(50) * 7919
    made = generator.generate_many(difficulties, seeds)
    assert (made == generator.generate_many(difficulties, seeds)).all()
    backwards = generator.generate_many(difficulties[::-1], seeds[::-1])
    assert (made == backwards[::-1]).all()  # whatever was made before
    one = generator.generate(float(difficulties[20]), int(seeds[20]))
    assert (one == made[20]).all()
    assert len({grid.tobytes() for grid in many(name, 1.0, 50)}) == 50
    last = generator.generate(1.0, 2**63 - 1)
    assert not (last == generator.generate(1.0, 0)).all()


@pytest.mark.parametrize("name", games.names())
def test_levels_are_of_one_shape_and_have_one_avatar_walls_around_and_known_characters(name):
    game = games.load(name)
    assert generators.find(name).shape == game.shape
    known = {*game.characters, " ", "w"}
    for difficulty in DIFFICULTIES:
        grids = many(name, difficulty, 300)
        assert grids.shape == (300, *game.shape)
        assert (counted(grids, "A") == 1).all()
        assert {chr(code) for code in np.unique(grids)} <= known
        rims = (grids[:, 0], grids[:, -1], grids[:, :, 0], grids[:, :, -1])
        assert all((rim == ord("w")).all() for rim in rims)
    rules = vgdl.compile_game(game.rules, name=name)
    assert rules.level(grids[0]).height == game.shape[0]


def test_zeldas_key_is_reached_without_the_exit_and_the_exit_too():
    for difficulty in DIFFICULTIES:
        for grid in many("zelda", difficulty, 300):
            (start,), (key,), (gate,) = (cells(grid, c) for c in "A+g")
            assert key in reached(grid, start, "wg")
            everywhere = reached(grid, start, "w")
            assert gate in everywhere
            assert len(everywhere) == (grid != ord("w")).sum()


def test_zeldas_exit_is_farther_and_its_walls_more_with_difficulty():
    def share(grid):
        """Return the steps to the exit as a share of those to the farthest cell."""
        (start,), (gate,) = cells(grid, "A"), cells(grid, "g")
        distances, front = {start: 0}, [start]
        for y, x in front:  # grows while it is gone through
            for cell in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if cell not in distances and chr(grid[cell]) != "w":
                    distances[cell] = distances[y, x] + 1
                    front.append(cell)
        return distances[gate] / max(distances.values())

    shares = [np.mean([share(grid) for grid in many("zelda", d, 1000)]) for d in DIFFICULTIES]
    assert shares == sorted(shares)
    # A cell at random would be a good half of the way off.
    assert shares[0] > 0.6
    assert shares[-1] > shares[0] + 0.02
    walls = [counted(many("zelda", d), "w").mean() for d in (0.5, 0.75, 1.0)]
    assert walls == sorted(walls)


def test_boulderdash_can_be_dug_to_every_gem_and_to_the_exit_around_all_boulders():
    for difficulty in DIFFICULTIES:
        for grid in many("boulderdash", difficulty, 300):
            (start,), (gate,) = cells(grid, "A"), cells(grid, "e")
            found = reached(grid, start, "wo")
            assert gate in found
            assert set(cells(grid, "x")) <= found
            assert abs(start[0] - gate[0]) + abs(start[1] - gate[1]) >= 4
            for y, x in cells(grid, "cb"):
                assert abs(y - start[0]) + abs(x - start[1]) > 5
                assert abs(y - gate[0]) + abs(x - gate[1]) > 2
            # No boulder falls by itself: what is under one holds it.
            assert all(chr(grid[y + 1, x]) in ".wo" for y, x in cells(grid, "o"))


def test_boulderdashs_caves_hang_together():
    for grid in many("boulderdash", 1.0, 300):
        (start,) = cells(grid, "A")
        assert len(reached(grid, start, "w")) == (grid != ord("w")).sum()


def test_solarfoxs_gems_are_symmetric():
    for difficulty in DIFFICULTIES:
        kinds = set()
        for grid in many("solarfox", difficulty, 300):
            room = grid[1:-1, 1:-1]
            gems = np.where(np.isin(room, [ord("b"), ord("p")]), room, 0)
            taken = counted(room[..., None, None], "A12") > 0
            sides = []
            for flipped in (np.flip, np.flipud, np.fliplr):
                mirrored, was_taken = flipped(gems), flipped(taken)
                sides.append(((gems == mirrored) | taken | was_taken).all())
            assert sides[1] or sides[2]
            kinds.add("".join(sorted(chr(code) for code in np.unique(gems) if code)))
            assert (grid[1] == ord("1")).sum() == (grid[-2] == ord("2")).sum() == 1
            ((y, x),) = cells(grid, "A")
            assert 4 <= y <= 6
            assert 4 <= x <= 5
        assert kinds >= {"b", "p", "bp"}


def test_frogs_rows_are_streets_of_one_direction_rivers_with_a_source_or_grass():
    for difficulty in DIFFICULTIES:
        for grid in many("frogs", difficulty, 300):
            ((y_start, _),), ((y_goal, x_goal),) = cells(grid, "A"), cells(grid, "g")
            assert y_goal < y_start
            assert set(bytes(grid[y_start]).decode()) <= set("w A")
            assert set(bytes(grid[y_goal]).decode()) == {"w", "g"}
            assert chr(grid[y_goal + 1, x_goal]) != "w"
            for y in range(y_goal + 1, y_start):
                row = bytes(grid[y]).decode().strip("w")
                assert row.strip() == "" or set(row) <= set("~=s") or len(set(row) - {"-"}) == 1
                if set(row) & set("~="):
                    assert row.index("s") == len(row) - 1
            if difficulty == 0:
                assert set(bytes(grid).decode()) == set("w Ag")


def test_frogs_runs_of_street_or_water_end_in_grass():
    # At difficulty 1 no run is grass, so two rows of one kind in a row belong to one run, and a
    # run of several rows is followed by grass or the goal.
    runs = []
    for grid in many("frogs", 1.0, 500):
        ((y_start, _),), ((y_goal, _),) = cells(grid, "A"), cells(grid, "g")
        rows = [bytes(grid[y]).decode().strip("w") for y in range(y_goal + 1, y_start)]
        runs.append("".join("g" if not r.strip() else "~" if "~" in r else "-" for r in rows[::-1]))
    assert all("gg" not in run for run in runs)
    assert any("~~" in run for run in runs)
    assert any("--" in run for run in runs)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_frogs_levels_can_be_won(difficulty):
    rules = vgdl.compile_game(games.load("frogs").rules, name="frogs")
    for grid in many("frogs", difficulty, 30):
        outcome = search.solve(rules, rules.level(grid), width=500, most_ticks=200)
        assert outcome.actions is not None


def test_what_the_documentation_says_of_winning_was_measured():
    text = (ROOT / "docs" / "ppcg.md").read_text(encoding="utf-8").replace("\n", " ")
    rows = json.loads((ROOT / "benchmarks" / "results" / "generators.json").read_text())["won"]
    total = Counter()
    for row in rows:
        total[row["game"], "n"] += row["n"]
        total[row["game"], "won"] += row["won"]
    for name, words in (
        ("frogs", "all of 1,100 of Frogs"),
        ("zelda", "all of 60 of Zelda"),
        ("solarfox", "all of 60 of Solarfox"),
        ("boulderdash", "59 of 60 of Boulderdash"),
    ):
        won, n = total[name, "won"], total[name, "n"]
        said = f"all of {n:,}" if won == n else f"{won:,} of {n:,}"
        assert words == f"{said} of {name.capitalize()}"
        assert words in text
    others = {name for name, _ in total} - set(generators.CONSTRUCTIVE)
    always = sorted(name.capitalize() for name in others if total[name, "won"] == 10)
    assert f"all of {', '.join(always[:-1])} and {always[-1]} can be won" in text
    few = {name: total[name, "won"] for name in others if total[name, "won"] <= 5}
    assert few == {"skyguard": 5, "shunting": 3, "storehouse": 0}
    assert "of Skyguard five, of Shunting three were won, of Storehouse none" in text


def free_levels(grids):
    """Return whether all cells that are not walls hang together, one a level."""
    return [
        len(reached(grid, cells(grid, "A")[0], "w")) == (grid != ord("w")).sum() for grid in grids
    ]


@pytest.mark.parametrize("name", [n for n in games.names() if n not in generators.CONSTRUCTIVE])
def test_the_general_generator_keeps_levels_in_one_piece_and_what_every_level_has(name):
    game = games.load(name)
    always = {c for c in game.characters if all(c in level for level in game.levels)} - {"w"}
    for difficulty in DIFFICULTIES:
        grids = many(name, difficulty, 100)
        assert all(free_levels(grids))
        for character in always:
            assert (counted(grids, character) >= 1).all()


def test_the_general_generator_goes_from_the_first_level_to_the_last():
    first = "wwwww\nwA ew\nw   w\nwwwww"
    last = "wwwwwwwww\nwA     ew\nw e w e w\nw   w  ew\nw e    ew\nwwwwwwwww"
    generator = generators.from_levels("mine", [first, last])
    assert generator.shape == (6, 9)
    easy = generator.generate_many([0.0] * 200, np.arange(200))
    hard = generator.generate_many([1.0] * 200, np.arange(200))
    middle = generator.generate_many([0.5] * 2000, np.arange(2000))
    assert (counted(easy, "e") == 1).all()
    assert (counted(hard, "e") == 6).all()
    # Rounded at random: 3 or 4 with even odds, so the mean is off by 0.5 / sqrt(2000) a deviation.
    assert set(counted(middle, "e").tolist()) == {3, 4}
    assert counted(middle, "e").mean() == pytest.approx(3.5, abs=5 * 0.5 / np.sqrt(2000))
    assert ((easy != ord("w")).sum(axis=(1, 2)) == 6).all()  # the room of the first level
    assert all(free_levels(hard))


def test_what_there_is_most_of_goes_without_where_there_is_no_room():
    # In between the room may be that of the first level, and the dots more than those of it.
    full = ["wwwww\nwA..w\nwwwww", "wwwww\nwA..w\nw...w\nw...w\nwwwww"]
    grids = generators.from_levels("mine", full).generate_many([0.25] * 300, np.arange(300))
    assert (counted(grids, "A") == 1).all()
    assert set(counted(grids, ".").tolist()) == {2, 3, 4}


def test_one_level_is_enough_and_difficulty_then_changes_nothing():
    generator = generators.from_levels("mine", ["wwwww\nwA ew\nwwwww"])
    assert (generator.generate(0.0, 3) == generator.generate(1.0, 3)).all()


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([], "at least one level, got none"),
        (["www\nwA\nwww"], r"level 0 of mine: all rows must have one length, got \[3, 2, 3\]"),
        (["ww\nww"], r"3 to 64 cells a side, got \(2, 2\)"),
        (["w" * 65 + "\n" + "w" * 65 + "\n" + "w" * 65], r"got \(3, 65\)"),
        (["wwww\nwAéw\nwwww"], "characters must be ASCII"),
        ([""], r"3 to 64 cells a side, got \(0, 0\)"),
        (["\n\n\n"], r"3 to 64 cells a side, got \(3, 0\)"),
    ],
)
def test_levels_that_cannot_be_learned_from_are_refused(levels, message):
    with pytest.raises(ArgumentError, match=message):
        generators.from_levels("mine", levels)


@pytest.mark.parametrize("difficulty", [-0.01, 1.01, float("nan"), float("inf")])
def test_difficulties_outside_are_refused(difficulty):
    with pytest.raises(ArgumentError, match=r"zelda: difficulty must lie in \[0, 1\], got"):
        generators.find("zelda").generate(difficulty, 1)


@pytest.mark.parametrize("seed", [-1, 2**63, 0.5, "a"])
def test_seeds_outside_are_refused(seed):
    with pytest.raises(ArgumentError, match=r"a seed must be an integer in \[0, 2\^63\), got"):
        generators.find("zelda").generate(0.5, seed)


def test_difficulties_and_seeds_must_be_as_many():
    with pytest.raises(ShapeError, match=r"shapes \(2,\) and \(3,\)"):
        generators.find("zelda").generate_many([0.5, 0.5], [1, 2, 3])


def test_an_unknown_game_has_no_generator():
    with pytest.raises(ArgumentError, match="no game 'pong'"):
        generators.find("pong")
