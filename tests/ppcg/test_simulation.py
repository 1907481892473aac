"""What ends, what begins, what curricula hear: against Gymnasium's own vector environment."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from sidle import checkpoint
from sidle.errors import ArgumentError, DataError
from sidle.ppcg import curriculum, playable
from sidle.ppcg.environment import GameEnvironment
from sidle.ppcg.level_replay import PrioritizedReplay
from sidle.ppcg.simulation import Simulation, choose_curriculum
from sidle.ppcg.vector_environment import VectorEnvironment

# Nothing here is left to chance, so that any two that play it must agree.
RULES = """
BasicGame
    SpriteSet
        wall > Immovable
        fire > Immovable
        key > Immovable
        coin > Immovable
        avatar > MovingAvatar
    InteractionSet
        avatar wall > stepBack
        coin avatar > killSprite scoreChange=3
        key avatar > killSprite scoreChange=1
        avatar fire > killSprite scoreChange=-2
    TerminationSet
        SpriteCounter stype=key limit=0 win=True
        SpriteCounter stype=avatar limit=0 win=False
    LevelMapping
        w > wall
        f > fire
        k > key
        c > coin
        A > avatar
"""
LEVEL = "wwwwww\nwkcA w\nw  f w\nw  c w\nwwwwww\n"
MODES = ("same_step", "next_step", "disabled")


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("game")
    (folder / "mine.vgdl").write_text(RULES)
    (folder / "mine.txt").write_text(LEVEL)
    return playable.find(folder / "mine.vgdl")


class Listener(curriculum.LevelSet):
    """Notes what it hears."""

    def __init__(self, levels):
        super().__init__(levels)
        self.heard, self.begun = [], []

    def begin(self, n_slots, slots=None, *, clock=0):
        self.begun.append((n_slots, slots, clock))

    def update_on_episode(self, episode_return, length, task, progress, env_id=0, *, clock=None):
        self.heard.append((episode_return, length, task, progress, env_id, clock))


def assert_equal(ours, theirs):
    """Compare trees of infos, whatever the kinds of their integers."""
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs)
        for name in theirs:
            assert_equal(ours[name], theirs[name])
    elif theirs.dtype == object:
        for one, other in zip(ours, theirs, strict=True):
            assert (one is None) == (other is None)
            assert one is None or np.array_equal(one, other)
    else:
        assert np.array_equal(ours, theirs, equal_nan=theirs.dtype.kind == "f")


@pytest.mark.parametrize("limit", [None, 6])
@pytest.mark.parametrize("mode", MODES)
def test_every_step_is_that_of_gymnasiums_vector_environment(stage, mode, limit):
    """The truth: single environments under Gymnasium's TimeLimit and SyncVectorEnv."""
    n = 7

    def single():
        made = GameEnvironment(stage, levels="hand_made")
        return made if limit is None else TimeLimit(made, limit)

    theirs = SyncVectorEnv([single] * n, autoreset_mode=AutoresetMode[mode.upper()])
    ours = VectorEnvironment(
        stage, n, levels="hand_made", autoreset_mode=mode, max_episode_steps=limit
    )
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"]
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    expected, expected_infos = theirs.reset(seed=0)
    seen, infos = ours.reset(seed=0)
    assert np.array_equal(seen, expected)
    assert_equal(infos, expected_infos)
    n_terminated = n_truncated = 0
    for actions in np.random.default_rng(1).integers(5, size=(250, n)):
        expected, *expected_results, expected_infos = theirs.step(actions)
        # TimeLimit says of an end by the rules in the last tick that it was cut off, too.
        expected_results[2] &= ~expected_results[1]
        seen, *results, infos = ours.step(actions)
        assert np.array_equal(seen, expected)
        for one, other in zip(results, expected_results, strict=True):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)
        assert_equal(infos, expected_infos)
        terminated, truncated = expected_results[1:]
        n_terminated, n_truncated = n_terminated + terminated.sum(), n_truncated + truncated.sum()
        if mode == "disabled" and (terminated | truncated).any():
            mask = terminated | truncated
            expected = theirs.reset(options={"reset_mask": mask})[0]
            assert np.array_equal(ours.reset(options={"reset_mask": mask})[0], expected)
    assert n_terminated > 30
    assert (n_truncated > 30) == (limit is not None)


@pytest.mark.parametrize("limit", [None, 6])
@pytest.mark.parametrize("mode", MODES)
def test_a_curriculum_hears_of_every_episode_once(stage, mode, limit):
    n, heard = 5, Listener(stage.levels)
    simulation = Simulation(
        stage, n, curriculum=heard, autoreset=mode, max_episode_steps=limit, rewards="outcome"
    )
    simulation.reset(seed=0)
    expected, paid, lengths = [], [], np.zeros(n, int)
    rewards, pending = [], np.zeros(n, bool)
    for clock, actions in enumerate(np.random.default_rng(2).integers(5, size=(200, n)), 1):
        if mode == "disabled" and (clock % 3) == 0 and pending.any():
            # What is over waits for up to two more steps.
            simulation.reset(slots=np.flatnonzero(pending))
            lengths[pending], pending[:] = 0, False
        was_pending = pending.copy()
        simulation.step(actions)
        rewards += simulation.rewards.tolist()
        over = simulation.terminated | simulation.truncated
        scores = simulation.ended["score"].tolist()
        if mode == "disabled":
            assert (over >= was_pending).all()
            new = over & ~was_pending
            pending |= over
        else:
            new = over
            lengths[was_pending] = -1  # the step in which it is replaced is none of its own
            pending = over & (mode == "next_step")
        lengths[~was_pending | (mode != "disabled")] += 1
        assert sorted(simulation.ended["slot"]) == np.flatnonzero(new).tolist()
        by_slot = dict(zip(simulation.ended["slot"].tolist(), scores, strict=True))
        order = simulation.ended["slot"].tolist()
        for slot in order:
            won = bool(simulation.won[slot])
            expected.append((by_slot[slot], int(lengths[slot]), 0, float(won), slot, clock))
            paid.append(1 if won else 0 if simulation.truncated[slot] else -1)
            lengths[slot] = 0
    assert heard.heard == expected
    assert len(expected) > 60
    assert sorted(r for r in rewards if r) == sorted(p for p in paid if p)
    assert {won for *_, won, _, _ in expected} == {0.0, 1.0}


def test_levels_asked_for_are_not_the_curriculums_own(stage):
    heard = Listener(stage.levels)
    simulation = Simulation(stage, 2, curriculum=heard)
    simulation.reset(seed=0, level="wwwww\nwAk w\nwwwww")
    assert simulation.ids.tolist() == [-1, -1]
    assert np.isnan(simulation.difficulties).all()
    right = stage.game.actions.index("ACTION_RIGHT")
    simulation.step([right, 0])
    assert simulation.ended["slot"].tolist() == [0]
    assert heard.heard == []  # it was not chosen by it
    assert heard.begun[-1] == (2, [0], 1)  # what follows is
    assert simulation.ids.tolist() == [0, -1]  # a level of the set took its place
    left = stage.game.actions.index("ACTION_LEFT")
    simulation.step([left, 0])
    simulation.step([left, 0])
    assert heard.heard == [(4, 2, 0, 1.0, 0, 3)]


@pytest.mark.parametrize("mode", MODES)
def test_generated_levels_asked_for_have_their_difficulty_and_can_be_made_again(mode):
    frogs = playable.find("frogs")
    simulation = Simulation(frogs, 3, curriculum=curriculum.Fixed(0.2), autoreset=mode)
    simulation.reset(seed=4, difficulty=[0.1, 0.55, 1.0])
    assert simulation.difficulties.tolist() == [0.1, 0.55, 1.0]
    for slot in range(3):
        again = frogs.generated(simulation.difficulties[slot], int(simulation.ids[slot]))
        simulation_of_it = Simulation(frogs, 1, curriculum=curriculum.Fixed(0.2))
        simulation_of_it.reset(seed=0, level=again)
        assert np.array_equal(simulation_of_it.planes[0], simulation.planes[slot])
    if mode != "disabled":
        while (simulation.difficulties != 0.2).any():
            simulation.step(np.random.default_rng(simulation.clock).integers(5, size=3))


def test_a_score_may_count_as_a_win_and_changes_nothing_else():
    boulderdash = playable.find("boulderdash")
    # Eleven gems of two points each, and an exit that cannot be reached.
    level = ["w" * 14, "wA" + "x" * 11 + "w", "w" * 14, "we" + " " * 11 + "w", "w" * 14]
    by_rules, by_score = (
        Simulation(boulderdash, 1, curriculum=curriculum.Fixed(0.0), autoreset="disabled", win=win)
        for win in ("rules", "score")
    )
    for simulation in (by_rules, by_score):
        simulation.reset(seed=0, level=level)
    right = boulderdash.game.actions.index("ACTION_RIGHT")
    over_at = None
    for clock in range(2005):
        for simulation in (by_rules, by_score):
            simulation.step([right])
        assert by_rules.terminated == by_score.terminated
        assert by_rules.rewards == by_score.rewards
        if over_at is None and by_rules.terminated:
            over_at = clock
            assert by_rules.engine.scores[0] == 22 > boulderdash.win_score
            assert by_rules.ended["won"].tolist() == by_rules.won.tolist() == [False]
            assert by_score.ended["won"].tolist() == by_score.won.tolist() == [True]
    assert over_at == 2000  # time is up
    assert by_score.won.tolist() == [True]  # and stays so


def test_levels_are_played_about_once_in_every_mode():
    for mode in MODES:
        simulation = Simulation(
            playable.find("frogs"), 8, curriculum=curriculum.Fixed(1.0), autoreset=mode
        )
        simulation.reset(seed=0)
        rng, begun = np.random.default_rng(0), 8
        for _ in range(300):
            simulation.step(rng.integers(5, size=8))
            begun += len(simulation.ended)
            if mode == "disabled" and len(simulation.ended):
                simulation.reset(slots=simulation.ended["slot"])
        statistics = simulation.statistics
        # What ended in the last step begins in the next one.
        late = len(simulation.ended) if mode == "next_step" else 0
        assert statistics["begun"] == begun - late
        assert begun > 200
        # 64 levels a bin, 16 to 24 played until they are renewed: a pair of equal draws now and
        # then. Without renewal it would be at least 200 / 64.
        assert 1.0 <= statistics["reuse"] < 1.35
        assert statistics["difficulty"] == 1.0


@pytest.mark.parametrize("kind", ["ppcg", "replay", "set"])
@pytest.mark.parametrize("mode", MODES)
def test_a_state_kept_in_a_file_goes_on_to_the_bit(tmp_path, kind, mode):
    frogs = playable.find("frogs")

    def make():
        chosen = {
            "ppcg": lambda: curriculum.PPCG(0.05, start=0.3, variant="uniform"),
            "replay": lambda: PrioritizedReplay(capacity=8),
            "set": lambda: curriculum.LevelSet(frogs.levels),
        }[kind]()
        return Simulation(frogs, 6, curriculum=chosen, autoreset=mode, max_episode_steps=25)

    def play(simulation, begin, end):
        seen = []
        for step in range(begin, end):
            rng = np.random.default_rng(step)
            places = simulation.places
            simulation.step(rng.integers(5, size=6))
            over = simulation.terminated | simulation.truncated
            if simulation.curriculum.learns_from_rollouts:
                simulation.curriculum.update_on_rollout(
                    places[None], over[None], rng.random((1, 6), np.float32)
                )
            seen.append(
                (simulation.planes.copy(), simulation.rewards.copy(), over, simulation.ended.copy(),
                 simulation.ids.copy(), simulation.difficulties.copy(), simulation.places,
                 np.array(simulation.curriculum.difficulty))
            )  # fmt: skip
            if mode == "disabled" and step % 4 == 0 and over.any():
                simulation.reset(slots=np.flatnonzero(over))
        return seen

    first, second = make(), make()
    first.reset(seed=3)
    play(first, 0, 150)
    checkpoint.save(tmp_path / "state", first.state_dict())
    second.load_state_dict(checkpoint.load(tmp_path / "state"))
    n_ended = 0
    for one, other in zip(play(first, 150, 300), play(second, 150, 300), strict=True):
        n_ended += len(one[3])
        for a, b in zip(one, other, strict=True):
            if a.dtype.names is None:
                assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
            else:
                for name in a.dtype.names:
                    equal_nan = a[name].dtype.kind == "f"
                    assert np.array_equal(a[name], b[name], equal_nan=equal_nan)
    assert n_ended > 30
    statistics = [simulation.statistics for simulation in (first, second)]
    for one in statistics:
        del one["seconds"]  # of this process
    assert str(statistics[0]) == str(statistics[1])  # NaN equals itself


def test_arguments_choose_a_curriculum(stage):
    frogs = playable.find("frogs")
    assert isinstance(choose_curriculum(frogs, None, None, None), curriculum.Uniform)
    assert choose_curriculum(frogs, None, 0.25, None).difficulty == 0.25
    assert len(choose_curriculum(frogs, "hand_made", None, None).levels) == 5
    assert len(choose_curriculum(stage, [LEVEL, stage.levels[0]], None, None).levels) == 2
    own = curriculum.PPCG()
    assert choose_curriculum(frogs, None, None, own) is own
    with pytest.raises(DataError, match=r"\?"):
        choose_curriculum(stage, ["wwww\nwA?w\nwwww"], None, None)


def test_a_game_without_a_generator_plays_its_levels_and_says_why(tmp_path):
    (tmp_path / "open.vgdl").write_text(RULES)
    (tmp_path / "open.txt").write_text("  k\nA  \n")  # no walls to generate levels after
    stage = playable.find(tmp_path / "open.vgdl")
    assert choose_curriculum(stage, None, None, None).levels == stage.levels
    for make in (
        lambda: choose_curriculum(stage, "generated", None, None),
        lambda: Simulation(stage, 1, curriculum=curriculum.Uniform()).reset(),
        lambda: Simulation(stage, 1, curriculum=PrioritizedReplay()).reset(),
    ):
        with pytest.raises(ArgumentError, match="generated after levels with walls"):
            make()
