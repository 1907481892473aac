"""CPC beside agents: what it may change, what it must not, and going on exactly."""

import numpy as np
import pytest
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from cpc.small_game import STEPS, Strip, model, settings, weights
from sidle import seeding
from sidle.cpc import agent_checkpoint
from sidle.cpc.agent import AuxiliarySettings, ContrastiveCallback, controls
from sidle.errors import ArgumentError


def learned(algorithm=A2C, chosen=None, kind="planes", actions="discrete", rollouts=2):
    trained = model(algorithm, kind, actions=actions)
    auxiliary = None if chosen is None else ContrastiveCallback(chosen, seed=3)
    with seeding.scope(0):
        trained.learn(rollouts * STEPS, callback=auxiliary)
    return weights(trained)


@pytest.mark.parametrize("algorithm", [A2C, PPO, RecurrentPPO])
def test_without_weight_the_agent_is_left_alone_to_the_last_bit(algorithm):
    alone = learned(algorithm)
    assert torch.equal(alone, learned(algorithm, controls(settings())["no-loss"]))
    assert not torch.equal(alone, learned(algorithm, settings()))


@pytest.mark.parametrize("algorithm", [A2C, PPO, RecurrentPPO])
def test_goes_on_from_a_checkpoint_to_the_last_bit(algorithm, tmp_path):
    chosen = settings(
        context="agent" if algorithm is RecurrentPPO else "own",
        pieces=6,
        updates=2,
        final_weight=0.0,
        anneal_steps=4 * STEPS,
    )
    ends = []
    for stop in (None, 2):
        trained, auxiliary = model(algorithm), ContrastiveCallback(chosen, seed=3)
        with seeding.scope(1):
            trained.learn((stop or 4) * STEPS, callback=auxiliary)
            if stop:
                path = tmp_path / "agent.safetensors"
                agent_checkpoint.save(path, trained, auxiliary)
                trained, auxiliary = model(algorithm, seed=9), ContrastiveCallback(chosen, seed=3)
                left = 4 * STEPS - agent_checkpoint.load(path, trained, auxiliary)
                trained.learn(left, callback=auxiliary, reset_num_timesteps=False)
        ends.append(weights(trained))
    assert torch.equal(*ends)


@pytest.mark.parametrize("kind", ["planes", "image", "dict"])
@pytest.mark.parametrize("actions", ["discrete", "box", "many"])
def test_takes_every_kind_of_observation_and_action(kind, actions):
    assert torch.isfinite(learned(A2C, settings(), kind, actions, rollouts=1)).all()


def test_shuffled_time_and_moved_images_change_what_is_learned():
    found = controls(settings(), shift=1)
    ends = [learned(A2C, found[name]) for name in ("no-loss", "shuffled-time")]
    ends += [learned(A2C, found["augmentation-alone"]), learned(A2C, settings())]
    assert len({tuple(end.tolist()) for end in ends}) == 4


@pytest.mark.parametrize(("actions", "least", "most"), [(True, 0.7, 1.0), (False, 0.0, 0.6)])
def test_predicts_what_actions_lead_to(actions, least, most):
    # The policy hardly learns, so that actions are drawn nearly alike: a dot whose next move is one
    # of three can be told from its action, and from its place alone only a third of the time.
    trained = model(A2C, seed=1, learning_rate=1e-12)
    chosen = AuxiliarySettings(
        steps=1,
        context_features=32,
        negatives=16,
        updates=50,
        learning_rate=3e-3,
        actions=actions,
    )
    auxiliary = ContrastiveCallback(chosen, seed=3)
    each, update = [], auxiliary._update

    def noted(*given):
        each.append(update(*given))
        return each[-1]

    auxiliary._update = noted
    with seeding.scope(0):
        trained.learn(8 * STEPS, callback=auxiliary)
    # The first update of a rollout is of steps that nothing was learned from yet.
    assert least < each[7 * 50]["accuracy"] <= most
    found = trained.logger.name_to_value
    assert np.isclose(found["cpc/bound"], found["cpc/ceiling"] - found["cpc/loss"], atol=1e-4)


def test_refuses_what_it_cannot_train():
    with pytest.raises(ArgumentError, match="at least 32 steps"):
        model(n_steps=16).learn(64, callback=ContrastiveCallback())
    with pytest.raises(ArgumentError, match="needs a policy with an LSTM"):
        model().learn(128, callback=ContrastiveCallback(settings(context="agent")))
    flat = A2C("MlpPolicy", DummyVecEnv([Strip]), n_steps=32, device="cpu")
    with pytest.raises(ArgumentError, match="nothing to learn"):
        flat.learn(128, callback=ContrastiveCallback())
    apart = model(policy_kwargs={"share_features_extractor": False})
    with pytest.raises(ArgumentError, match="share"):
        apart.learn(128, callback=ContrastiveCallback())
