import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from cpc.small_game import Strip
from sidle import checkpoint
from sidle.cpc.agent_environments import environment_state, restore_environment
from sidle.errors import ArgumentError, CheckpointError


def plain(kind="planes"):
    return DummyVecEnv([lambda: Strip(kind)] * 3)


def wrapped_one():
    return Monitor(TimeLimit(OrderEnforcing(PassiveEnvChecker(Strip())), 7))


STACKS = {
    "plain": plain,
    "dict": lambda: plain("dict"),
    "single wrappers": lambda: DummyVecEnv([wrapped_one] * 2),
    "frames": lambda: VecFrameStack(plain(), 3, channels_order="first"),
    "frames of a dict": lambda: VecFrameStack(
        DummyVecEnv([lambda: OnlyPlanes(Strip("dict"))] * 2), 2, channels_order="first"
    ),
    "normalised": lambda: VecNormalize(VecMonitor(plain())),
    "normalised dict": lambda: VecNormalize(plain("dict"), norm_obs_keys=["planes"]),
    "not observations": lambda: VecNormalize(plain(), norm_obs=False),
    "transposed": lambda: VecTransposeImage(VecMonitor(DummyVecEnv([ChannelsLast] * 2))),
}


class OnlyPlanes(gymnasium.ObservationWrapper):
    """A wrapper that keeps its own state by passing on what is inside."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Dict({"planes": env.observation_space["planes"]})

    def observation(self, observation):
        return {"planes": observation["planes"]}

    def state_dict(self):
        return self.env.state_dict()

    def load_state_dict(self, state):
        self.env.load_state_dict(state)


class ChannelsLast(Strip):
    """The strip as an image with channels last, 36 x 36 pixels of it."""

    def __init__(self):
        super().__init__("image")
        self.observation_space = gymnasium.spaces.Box(0, 255, (36, 36, 3), np.uint8)

    def seen(self):
        picture = np.zeros((36, 36, 3), np.uint8)
        picture[:, self.dot * 6] = 255
        return picture


def steps(environment, n, seed):
    """Play n random steps; return everything that is seen."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        actions = rng.integers(3, size=environment.num_envs)
        seen, rewards, dones, infos = environment.step(actions)
        seen = seen if isinstance(seen, dict) else {"": seen}
        lengths = [info["episode"]["l"] if "episode" in info else 0 for info in infos]
        found.append(
            [*(seen[key].copy() for key in sorted(seen)), rewards, dones, np.array(lengths)]
        )
    return found


@pytest.mark.parametrize("name", STACKS)
def test_goes_on_as_it_would_have(name, tmp_path):
    environment = STACKS[name]()
    environment.seed(5)
    environment.reset()
    steps(environment, 20, seed=0)
    # Through a file, since that is where states go.
    checkpoint.save(tmp_path / "state.safetensors", environment_state(environment))
    expected = steps(environment, 30, seed=1)
    other = STACKS[name]()
    other.seed(6)
    other.reset()
    restore_environment(other, checkpoint.load(tmp_path / "state.safetensors"))
    found = steps(other, 30, seed=1)
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_state_matters():
    environment = STACKS["single wrappers"]()
    environment.seed(5)
    environment.reset()
    first = steps(environment, 20, seed=0)
    assert any(
        not np.array_equal(a[0], b[0])
        for a, b in zip(first, steps(environment, 20, 0), strict=True)
    )


def test_what_says_nothing_of_its_state_is_refused_by_name():
    environment = DummyVecEnv([lambda: gymnasium.Wrapper(Strip())])
    with pytest.raises(ArgumentError, match="Wrapper does not say what its state is"):
        environment_state(environment)


def test_a_wrapper_that_hides_its_state_is_not_passed_through():
    # A VecEnvWrapper hands unknown attributes on to what it wraps, state_dict as well.
    class Counting(VecTransposeImage):
        pass

    environment = Counting(DummyVecEnv([ChannelsLast]))
    with pytest.raises(ArgumentError, match="Counting does not say"):
        environment_state(environment)


def test_another_number_of_environments_is_refused():
    environment = plain()
    environment.reset()
    state = environment_state(environment)
    with pytest.raises(CheckpointError, match="how many are played at once"):
        restore_environment(DummyVecEnv([Strip]), state)


def test_other_wrappers_are_refused():
    environment = VecMonitor(plain())
    environment.reset()
    with pytest.raises(CheckpointError, match="does not fit VecFrameStack"):
        restore_environment(
            VecFrameStack(plain(), 2, channels_order="first"), environment_state(environment)
        )
