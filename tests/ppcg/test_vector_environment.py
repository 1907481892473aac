"""Gymnasium's rules for vector environments, each autoreset mode, and equality with single ones."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from sidle.errors import ArgumentError, CheckpointError, DataError, ShapeError
from sidle.ppcg import curriculum, games, registration
from sidle.ppcg.environment import GameEnvironment
from sidle.ppcg.vector_environment import VectorEnvironment

IDS = dict(registration.identifiers())
MODES = ("same_step", "next_step", "disabled")


def actions(environment, n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(environment.single_action_space.n, size=(n, environment.num_envs))


@pytest.mark.parametrize("name", games.names())
def test_gymnasium_makes_every_game_and_its_wrappers_count_its_episodes(name):
    """What Gymnasium's check of single environments asks for, asked of many, made by it."""
    environment, again = (
        RecordEpisodeStatistics(
            gymnasium.make_vec(
                IDS[name], num_envs=5, vectorization_mode="vector_entry_point",
                max_episode_steps=25,
            )
        )
        for _ in range(2)
    )  # fmt: skip
    assert environment.spec.id == IDS[name]
    observations, infos = environment.reset(seed=3)
    assert np.array_equal(observations, again.reset(seed=3)[0])
    returns, n_ended = np.zeros(5), 0
    for row in actions(environment, 60):
        kept = observations.copy()
        before = observations
        observations, rewards, terminations, truncations, infos = step = environment.step(row)
        assert np.array_equal(before, kept)  # earlier observations are not written over
        for one, other in zip(step[:4], again.step(row)[:4], strict=True):
            assert np.array_equal(one, other)
        assert observations in environment.observation_space
        assert observations.dtype == np.int8
        assert rewards.shape == terminations.shape == truncations.shape == (5,)
        assert terminations.dtype == truncations.dtype == np.bool_
        assert not (terminations & truncations).any()
        for key in ("score", "level", "difficulty", "win"):
            assert infos[key].shape == infos[f"_{key}"].shape == (5,)
        returns += rewards
        ended = terminations | truncations
        n_ended += ended.sum()
        if ended.any():
            final = infos["final_info"]
            assert np.array_equal(infos["_episode"], ended)
            assert np.array_equal(infos["episode"]["r"][ended], returns[ended])
            assert np.array_equal(final["score"][ended], returns[ended])
            assert (infos["episode"]["l"][truncations] == 25).all()
            returns[ended] = 0.0
    assert n_ended >= 10
    environment.close()


def test_made_by_name_with_any_number_of_levels():
    environment = gymnasium.make_vec(
        "sidle/Zelda-v0", num_envs=3, vectorization_mode="vector_entry_point", difficulty=0.25
    )
    observations, infos = environment.reset(seed=0)
    assert observations.shape[0] == 3
    assert (infos["difficulty"] == 0.25).all()
    assert environment.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP


@pytest.mark.parametrize("ego_window", [None, 7])
def test_same_seed_same_trajectory_whatever_stands_beside(ego_window):
    few, many = (VectorEnvironment("frogs", n, ego_window=ego_window) for n in (3, 8))
    seen = [environment.reset(seed=11)[0] for environment in (few, many)]
    assert np.array_equal(seen[0], seen[1][:3])
    for row in actions(many, 200):
        a, b = few.step(row[:3]), many.step(row)
        for first, second in zip(a[:4], b[:4], strict=True):
            assert np.array_equal(first, second[:3])


def begun_again(mode):
    """Yield what each step of short episodes returned, with the episodes' true ends."""
    environment = VectorEnvironment("frogs", 6, difficulty=1.0, autoreset_mode=mode)
    environment.reset(seed=5)
    for row in actions(environment, 150):
        yield environment, environment.step(row)


def test_same_step_replaces_at_once_and_keeps_the_end():
    n_ended = n_others = 0
    for environment, (observations, _, terminations, _, infos) in begun_again("same_step"):
        if not terminations.any():
            assert "final_obs" not in infos
            continue
        assert np.array_equal(infos["_final_obs"], terminations)
        for slot in np.flatnonzero(terminations):
            n_ended += 1
            last = infos["final_obs"][slot]
            assert last in environment.single_observation_space
            assert not np.array_equal(last, observations[slot])
            assert infos["final_info"]["_score"][slot]
            n_others += infos["final_info"]["level"][slot] != infos["level"][slot]
            assert infos["score"][slot] == 0
            assert not infos["win"][slot]
        for slot in np.flatnonzero(~terminations):
            assert infos["final_obs"][slot] is None
    assert n_ended > 20
    assert n_others > 0.8 * n_ended  # of 64 levels, now and then the same one is drawn


def test_next_step_shows_the_end_and_then_begins_without_reward():
    before, n_ended = np.zeros(6, bool), 0
    for _, (_, rewards, terminations, truncations, infos) in begun_again("next_step"):
        assert not (before & terminations).any()
        assert (rewards[before] == 0).all()
        assert (infos["score"][before] == 0).all()
        assert "final_obs" not in infos
        before = terminations | truncations
        n_ended += before.sum()
    assert n_ended > 5


def test_disabled_leaves_the_end_until_it_is_reset():
    environment = VectorEnvironment("frogs", 4, difficulty=1.0, autoreset_mode="disabled")
    environment.reset(seed=5)
    over = np.zeros(4, bool)
    for row in actions(environment, 300):
        seen, rewards, terminations, _, infos = environment.step(row)
        assert (terminations >= over).all()
        assert (rewards[over] == 0).all()
        over = terminations
        if over.all():
            break
    assert over.all()
    mask = np.array([True, False, False, True])
    again, infos = environment.reset(options={"reset_mask": mask})
    assert np.array_equal(again[1:3], seen[1:3])
    assert (infos["score"][mask] == 0).all()
    _, _, terminations, _, _ = environment.step(np.zeros(4, int))
    assert terminations[1:3].all()


def test_single_and_vector_play_alike():
    """One level placed in both, deterministic but for its streams, which are both slot 0's."""
    level = games.load("storehouse").levels[0]
    single, vector = GameEnvironment("storehouse"), VectorEnvironment("storehouse", 1)
    first, _ = single.reset(seed=0, options={"level": level})
    second, _ = vector.reset(seed=0, options={"level": level})
    assert np.array_equal(first, second[0])
    for row in actions(vector, 100):
        a, b = single.step(row[0]), vector.step(row)
        assert np.array_equal(a[0], b[0][0])
        assert a[1:4] == (b[1][0], b[2][0], b[3][0])
        if a[2]:
            break


@pytest.mark.parametrize("mode", MODES)
def test_episodes_are_cut_off_where_asked(mode):
    environment = VectorEnvironment(
        "zelda", 3, difficulty=0.0, max_episode_steps=7, autoreset_mode=mode, levels="generated"
    )
    environment.reset(seed=0)
    for i in range(1, 8):
        _, _, terminations, truncations, infos = environment.step(np.zeros(3, int))
        assert truncations.tolist() == [i == 7] * 3
        assert not terminations.any()
    if mode == "same_step":
        assert infos["_final_obs"].all()
    if mode != "disabled":
        truncated = [environment.step(np.zeros(3, int))[3].any() for _ in range(6)]
        assert not any(truncated)
        at = 1 if mode == "same_step" else 2
        for i in range(1, at + 1):
            assert environment.step(np.zeros(3, int))[3].all() == (i == at)


@pytest.mark.parametrize(("rewards", "expected"), [("sign", {-1, 0, 1}), ("outcome", {-1, 0, 1})])
def test_kinds_of_rewards(rewards, expected):
    environment = VectorEnvironment("frogs", 16, difficulty=0.3, rewards=rewards)
    environment.reset(seed=1)
    seen = set()
    for row in actions(environment, 400):
        _, paid, terminations, _, infos = environment.step(row)
        seen |= set(paid.tolist())
        if rewards == "outcome":
            assert ((paid != 0) == terminations).all()
            won = infos.get("final_info", {}).get("win", np.zeros(16, bool))
            assert (paid[terminations] == np.where(won[terminations], 1, -1)).all()
    assert seen <= expected
    assert len(seen) > 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ego_window", [None, 5])
def test_a_saved_state_goes_on_alike(mode, ego_window):
    def make():
        return VectorEnvironment(
            "frogs", 6, curriculum=curriculum.PPCG(alpha=0.1), autoreset_mode=mode,
            ego_window=ego_window, max_episode_steps=30,
        )  # fmt: skip

    first, second = make(), make()
    first.reset(seed=9)
    rows = actions(first, 160)
    for row in rows[:80]:
        first.step(row)
    observations = second.load_state_dict(first.state_dict())
    assert np.array_equal(observations, first.view.of(first.simulation.planes))
    for row in rows[80:]:
        a, b = first.step(row), second.step(row)
        for one, other in zip(a[:4], b[:4], strict=True):
            assert np.array_equal(one, other)
        for key in ("score", "level", "difficulty", "win"):
            assert np.array_equal(a[4][key], b[4][key], equal_nan=True)
    assert first.simulation.curriculum.difficulty == second.simulation.curriculum.difficulty


def test_a_state_of_something_else_is_refused():
    state = VectorEnvironment("frogs", 2)
    state.reset(seed=0)
    with pytest.raises(CheckpointError, match="another game"):
        VectorEnvironment("zelda", 2).load_state_dict(state.state_dict())
    with pytest.raises(CheckpointError, match="2 slots"):
        VectorEnvironment("frogs", 3).load_state_dict(state.state_dict())


def test_threads_make_no_difference():
    one, two = (VectorEnvironment("boulderdash", 8, threads=threads) for threads in (1, 2))
    assert np.array_equal(one.reset(seed=2)[0], two.reset(seed=2)[0])
    for row in actions(one, 40):
        assert np.array_equal(one.step(row)[0], two.step(row)[0])


def test_frames():
    environment = VectorEnvironment("zelda", 2, render_mode="rgb_array", tile=10)
    with pytest.raises(ArgumentError, match="Call reset first"):
        environment.render()
    environment.reset(seed=0)
    frames = environment.render()
    assert [frame.shape for frame in frames] == [(90, 130, 3)] * 2
    assert not np.array_equal(*frames)
    assert VectorEnvironment("zelda", 2).render() is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"autoreset_mode": "never"}, "autoreset_mode must be"),
        ({"render_mode": "human"}, "render_mode must be"),
        ({"ego_window": 4}, "ego_window must be odd"),
        ({"levels": "all"}, "levels must be 'generated'"),
        ({"levels": "hand_made", "difficulty": 0.5}, "difficulty is of generated"),
        ({"difficulty": 1.5}, r"must lie in \[0, 1\], got 1.5"),
        ({"curriculum": curriculum.Uniform(), "difficulty": 0.5}, "not several"),
        ({"rewards": "much"}, "rewards must be"),
        ({"win": "score"}, "no score counts as a win"),
        ({"max_episode_steps": 0}, "max_episode_steps must be at least 1"),
        ({"num_envs": 0}, "n and threads must be at least 1"),
        ({"tile": 3, "render_mode": "rgb_array"}, "tile must be from 4"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        VectorEnvironment("zelda", **{"num_envs": 2} | arguments)


def test_bad_resets_and_steps_are_named():
    environment = VectorEnvironment("zelda", 2)
    with pytest.raises(ArgumentError, match="Call reset first"):
        environment.step(np.zeros(2, int))
    for options, error, words in (
        ({"levels": 1}, ArgumentError, "unknown option 'levels'"),
        ({"level": 5}, ArgumentError, "levels 0 to 4"),
        ({"level": 1, "difficulty": 0.5}, ArgumentError, "not both"),
        ({"level": "wwww\nwA?w\nwwww"}, DataError, r"\?"),
        ({"difficulty": [0.1, 0.2, 0.3]}, ShapeError, "one difficulty or 2"),
        ({"reset_mask": [True, False]}, ArgumentError, "NumPy array"),
        ({"reset_mask": np.array([True])}, ShapeError, r"shape \(2,\)"),
        ({"reset_mask": np.array([False, False])}, ArgumentError, "true somewhere"),
    ):
        with pytest.raises(error, match=words):
            environment.reset(options=options)
    environment.reset(seed=0)
    with pytest.raises(ShapeError, match="expected 2 actions"):
        environment.step(np.zeros(3, int))
    with pytest.raises(ArgumentError, match="actions must be from 0 to 5"):
        environment.step(np.array([0, 6]))


def test_levels_made_by_hand_and_of_one_difficulty():
    environment = VectorEnvironment("zelda", 40, levels="hand_made")
    _, infos = environment.reset(seed=0)
    assert set(infos["level"].tolist()) == {0, 1, 2, 3, 4}
    assert np.isnan(infos["difficulty"]).all()
    _, infos = environment.reset(options={"level": 3})
    assert (infos["level"] == 3).all()
    _, infos = environment.reset(options={"difficulty": np.linspace(0, 1, 40)})
    assert np.allclose(infos["difficulty"], np.linspace(0, 1, 40))
