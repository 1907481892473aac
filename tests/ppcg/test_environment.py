"""Every game passes the checks of Gymnasium and Stable-Baselines3, and plays what it is told to."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_stable_baselines

from sidle.errors import ArgumentError
from sidle.ppcg import games, registration
from sidle.ppcg.environment import GameEnvironment

IDS = dict(registration.identifiers())


@pytest.mark.parametrize("name", games.names())
def test_gymnasium_and_stable_baselines_accept_every_game(name):
    environment = gymnasium.make(IDS[name], render_mode="rgb_array").unwrapped
    check_env(environment)  # a warning is an error
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_for_stable_baselines(environment)
    # Planes of tiles have the shape of an image and are none; our network takes them as they are.
    about_images = ("an image", "image space", "for an image")
    unexpected = [
        str(one.message)
        for one in caught
        if not any(words in str(one.message) for words in about_images)
    ]
    assert unexpected == []


def test_importing_the_room_registers_every_game_and_compiles_nothing():
    code = (
        "import sys, sidle.ppcg, gymnasium\n"
        "found = [i for i in gymnasium.registry if i.startswith('sidle/')]\n"
        "assert 'torch' not in sys.modules and 'numba' not in sys.modules, 'heavy'\n"
        "print(len(found), 'sidle/Zelda-v0' in found)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == [str(len(games.names())), "True"], done.stderr


def test_the_same_seed_plays_the_same_and_another_does_not():
    environment = GameEnvironment("zelda")
    first, info = environment.reset(seed=4)
    steps = [environment.step(i % 6) for i in range(50)]
    again, other_info = environment.reset(seed=4)
    assert np.array_equal(first, again)
    assert info == other_info
    for i, step in enumerate(steps):
        seen = environment.step(i % 6)
        assert np.array_equal(seen[0], step[0])
        assert seen[1:] == step[1:]
    other, _ = environment.reset(seed=5)
    assert not np.array_equal(first, other)
    following, _ = environment.reset()
    assert not np.array_equal(other, following)


def test_options_choose_the_level():
    environment = GameEnvironment("zelda", render_mode="rgb_array", tile=32)
    for number in range(5):
        seen, info = environment.reset(options={"level": number})
        assert (info["level"], np.isnan(info["difficulty"])) == (number, True)
        expected = games.load("zelda").grid(number)
        walls = environment.playable.game.types.index("wall")
        assert np.array_equal(seen[walls].astype(bool), expected == ord("w"))
    assert environment.render().shape == (9 * 32, 13 * 32, 3)
    _, info = environment.reset(options={"difficulty": 0.77})
    assert info["difficulty"] == 0.77
    level = environment.playable.generator.generate(0.77, info["level"])
    seen, _ = environment.reset(options={"level": level})
    assert np.array_equal(seen[walls].astype(bool), level == ord("w"))


def test_a_window_has_the_avatar_in_its_centre():
    whole, window = GameEnvironment("zelda"), GameEnvironment("zelda", ego_window=5)
    full, _ = whole.reset(seed=1, options={"level": 2})
    seen, _ = window.reset(seed=1, options={"level": 2})
    game = whole.playable.game
    for i in range(40):
        (where,) = np.argwhere(full[list(game.avatars())].any(0))
        padded = np.pad(full, ((0, 0), (2, 2), (2, 2)))
        expected = padded[:, where[0] : where[0] + 5, where[1] : where[1] + 5]
        assert np.array_equal(seen, expected)
        full, _, over, _, _ = whole.step(i % 5)
        seen = window.step(i % 5)[0]
        if over:
            break


def test_a_newcomers_file_is_an_environment(tmp_path):
    game = games.load("zelda")
    (tmp_path / "mine.vgdl").write_text(game.rules)
    (tmp_path / "mine.txt").write_text(game.levels[0] + "\n")
    environment = gymnasium.make("sidle/Zelda-v0", game=tmp_path / "mine.vgdl")
    observation, _ = environment.reset(seed=0)
    assert observation in environment.observation_space


def test_misuse_is_named():
    environment = GameEnvironment("zelda")
    with pytest.raises(ArgumentError, match="Call reset first"):
        environment.step(0)
    environment.reset(seed=0)
    with pytest.raises(ArgumentError, match="actions must be from 0 to 5"):
        environment.step(6)
    with pytest.raises(ArgumentError, match="unknown option 'reset_mask'"):
        environment.reset(options={"reset_mask": np.array([True])})
    with pytest.raises(ArgumentError, match="There is no game"):
        GameEnvironment("chess")
