"""CPC beside agents: what it may change, what it must not, and going on exactly."""

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium.wrappers import FlattenObservation
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv

from cpc.small_game import STEPS, Filters, Strip, model, settings, weights
from reference import episode_pieces
from sidle import seeding
from sidle.cpc.agent import AuxiliarySettings, ContrastiveCallback, controls
from sidle.cpc.agent_rollouts import shifted
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


@pytest.mark.parametrize("kind", ["planes", "image", "dict"])
@pytest.mark.parametrize("actions", ["discrete", "box", "many"])
def test_takes_every_kind_of_observation_and_action(kind, actions):
    assert torch.isfinite(learned(A2C, settings(), kind, actions, rollouts=1)).all()


class Watched(ContrastiveCallback):
    """Keeps what each update was given and did, and what the agent then learned from."""

    def __init__(self, chosen):
        super().__init__(chosen, seed=3)
        self.updates = []

    def _update(self, trained, pieces, generator):
        found = {"states": [part.clone() for part in shared(trained)]}
        contrast = self.cpc.contrast

        def noted(z, context, **named):
            losses = contrast(z, context, **named)
            found.update(named, z=z.detach(), context=context, plan=losses.plan)
            found["actions_given"] = named["actions"]
            return losses

        self.cpc.contrast = noted
        try:
            return super()._update(trained, pieces, generator)
        finally:
            del self.cpc.contrast
            buffer = trained.rollout_buffer
            found |= {
                name: getattr(buffer, name).copy()
                for name in ("episode_starts", "observations", "actions")
            }
            found["rate"] = self.optimizer.param_groups[0]["lr"]
            found["logged"] = self.metrics["weight"]
            found["changed"] = any(
                not torch.equal(before, after)
                for before, after in zip(found["states"], shared(trained), strict=True)
            )
            self.updates.append(found)


def shared(trained):
    return [part.detach() for part in trained.policy.features_extractor.parameters()]


def watched(chosen, algorithm=A2C, rollouts=1, **given):
    auxiliary = Watched(chosen)
    with seeding.scope(0):
        model(algorithm, **given).learn(rollouts * STEPS, callback=auxiliary)
    return auxiliary


@pytest.mark.parametrize("kind", ["planes", "image"])
def test_each_step_is_encoded_once_and_predicted_inside_its_episode_alone(kind):
    (found,) = watched(settings(), kind=kind).updates
    starts_TN = found["episode_starts"].tolist()
    assert any(any(row) for row in starts_TN[1:])
    pieces = [piece for piece in episode_pieces.pieces(starts_TN) if len(piece) > 1]
    assert found["lengths"].tolist() == [len(piece) for piece in pieces]
    filters = Filters(Strip(kind).observation_space)
    for part, state in zip(filters.parameters(), found["states"], strict=True):
        part.data = state
    for b, piece in enumerate(pieces):
        seen = torch.tensor(np.stack([found["observations"][t, n] for t, n in piece])).float()
        torch.testing.assert_close(found["z"][b, : len(piece)], filters(seen).detach())
        taken = [found["actions"][t, n, 0] for t, n in piece]
        assert found["actions_given"][b, : len(piece)].tolist() == taken
    # The pool lists the steps of all pieces in turn; positives are places in it.
    pool = [step for piece in pieces for step in piece]
    positions, weight_SN = found["plan"].positions, found["plan"].weight_SN
    predicted = {
        (k + 1, pool[positions.anchor_N[n]], pool[positions.positive_SN[k, n]])
        for k, n in (weight_SN > 0).nonzero().tolist()
    }
    every = episode_pieces.predictions(starts_TN, 3)
    assert predicted <= every
    assert len(predicted) == int((positions.positive_SN >= 0).sum()) == len(every)


def test_what_looks_alike_is_no_negative():
    (found,) = watched(settings()).updates
    plan, items_M = found["plan"], found["plan"].positions.item_M
    seen = {}
    for t, row in enumerate(found["observations"]):
        for n, image in enumerate(row):
            seen.setdefault(image.tobytes(), []).append((t, n))
    assert 6 < len(seen) < STEPS / 2
    assert len(items_M.unique()) <= len(seen)
    for k, n in (plan.weight_SN > 0).nonzero().tolist():
        positive = plan.positions.positive_SN[k, n]
        assert items_M[positive] not in items_M[plan.negatives(k, n)]


@pytest.mark.parametrize("starts", [True, False])
def test_contexts_of_the_agent_are_what_it_remembered_when_it_played(starts):
    # Nothing is learned before the first rollout's loss, so that the LSTM run over the pieces must
    # say again what it said while playing; the second rollout begins in the middle of episodes.
    auxiliary = Watched(settings(context="agent"))
    played = []

    class Playing(BaseCallback):
        def _on_step(self):
            played.append(self.locals["lstm_states"].pi[0][-1].clone())
            return True

    with seeding.scope(0):
        learner = model(RecurrentPPO, learning_rate=1e-12)
        auxiliary.settings = dataclasses.replace(auxiliary.settings, weight=0.0)
        learner.learn((1 if starts else 2) * STEPS, callback=[auxiliary, Playing()])
    found = auxiliary.updates[-1]
    memory_TNH = torch.stack(played[-32:])
    pieces = episode_pieces.pieces(found["episode_starts"].tolist())
    for b, piece in enumerate(piece for piece in pieces if len(piece) > 1):
        expected = torch.stack([memory_TNH[t, n] for t, n in piece])
        torch.testing.assert_close(
            found["context"][b, : len(piece)].detach(), expected, atol=1e-5, rtol=0
        )


def test_the_weight_is_what_moves_the_encoder_and_falls_as_asked():
    chosen = settings(weight=2.0, final_weight=0.0, anneal_steps=2 * STEPS, learning_rate=1e-3)
    updates = watched(chosen, rollouts=3).updates
    assert [found["logged"] for found in updates] == [1.0, 0.0, 0.0]
    assert [found["rate"] for found in updates] == [1e-3, 0.0, 0.0]
    assert [found["changed"] for found in updates] == [True, False, False]


def test_the_encoder_moves_as_far_as_the_weight_says():
    # Adam's first step is of the length of its learning rate, whatever the gradient.
    moved = []
    for weight in (1.0, 3.0):
        auxiliary = Watched(settings(weight=weight, learning_rate=1e-4))
        learner = model(A2C, learning_rate=1e-12)
        before = [part.clone() for part in shared(learner)]
        learner.learn(STEPS, callback=auxiliary)
        moved.append(
            max(
                float((new - old).abs().max())
                for new, old in zip(shared(learner), before, strict=True)
            )
        )
    assert np.allclose(moved, [1e-4, 3e-4], rtol=1e-2)


@pytest.mark.parametrize(("weight", "begins_at_one"), [(0.0, True), (1.0, False)])
def test_ratios_of_ppo_begin_at_one_only_where_the_encoder_stays(weight, begins_at_one):
    # One pass over all of a rollout, so that no step of PPO comes before its ratios.
    environment = DummyVecEnv([Strip] * 4)
    learner = PPO(
        "CnnPolicy", environment, n_steps=32, batch_size=STEPS, n_epochs=1, device="cpu", seed=0,
        policy_kwargs={"features_extractor_class": Filters, "normalize_images": False},
    )  # fmt: skip
    learner.policy.action_net.weight.data *= 100  # policies begin almost blind to features
    auxiliary = ContrastiveCallback(settings(weight=weight, learning_rate=0.1), seed=3)
    learner.learn(STEPS, callback=auxiliary, log_interval=1_000)
    divergence = learner.logger.name_to_value["train/approx_kl"]
    assert divergence < 1e-6 if begins_at_one else divergence > 1e-3


def test_without_weight_the_same_is_computed():
    with_loss, without = (
        watched(chosen, rollouts=2) for chosen in (settings(), controls(settings())["no-loss"])
    )
    assert len(with_loss.updates) == len(without.updates) == 2
    assert [found["changed"] for found in without.updates] == [False, False]
    first, second = (torch.cat([part.flatten() for part in each.cpc.parameters()])
                     for each in (with_loss, without))  # fmt: skip
    untrained = ContrastiveCallback(settings(), seed=3)
    untrained.attach(model(A2C))
    # The predictions are learned all the same.
    begun = torch.cat([part.flatten() for part in untrained.cpc.parameters()])
    assert not torch.equal(second, begun)
    assert first.shape == second.shape == begun.shape


@pytest.mark.parametrize("algorithm", [A2C, PPO, RecurrentPPO])
def test_augmentation_alone_is_an_agent_that_learns_from_moved_images(algorithm):
    class Moving(BaseCallback):
        """Moves the images of each rollout, and does nothing else."""

        n_rollouts = 0

        def _on_step(self):
            return True

        def _on_rollout_end(self):
            draws = seeding.torch_generator(seeding.split(3, "rollout", self.n_rollouts))
            self.n_rollouts += 1
            whole = self.model.rollout_buffer.observations
            flat = torch.from_numpy(whole.reshape(-1, *whole.shape[2:]))
            whole[...] = shifted(flat, 1, draws).numpy().reshape(whole.shape)

    learner = model(algorithm)
    with seeding.scope(0):
        learner.learn(2 * STEPS, callback=Moving())
    alone = controls(settings(), shift=1)["augmentation-alone"]
    assert torch.equal(learned(algorithm, alone), weights(learner))


def test_images_are_moved_for_the_loss_and_the_agent_alike():
    (moved,) = watched(settings(shift=1)).updates
    (still,) = watched(settings()).updates
    assert not np.array_equal(moved["observations"], still["observations"])
    # Rows and columns move, never from one channel to the other.
    assert (moved["observations"].any((3, 4)) <= still["observations"].any((3, 4))).all()
    with pytest.raises(ArgumentError, match="shift"):
        flat = A2C(
            "MlpPolicy", DummyVecEnv([lambda: FlattenObservation(Strip())]), n_steps=32,
            policy_kwargs={"features_extractor_class": Dense}, device="cpu",
        )  # fmt: skip
        flat.learn(32, callback=ContrastiveCallback(settings(shift=1)))


def test_a_rollout_of_single_steps_teaches_nothing_and_stops_nothing():
    environment = DummyVecEnv([lambda: Strip(ends=1.0) for _ in range(2)])
    learner = A2C(
        "CnnPolicy", environment, n_steps=32, device="cpu",
        policy_kwargs={"features_extractor_class": Filters, "normalize_images": False},
    )  # fmt: skip
    auxiliary = Watched(settings())
    learner.learn(64, callback=auxiliary)
    assert auxiliary.updates == []
    assert auxiliary.n_rollouts == 1
    assert auxiliary.metrics == {"weight": 1.0}


class Dense(BaseFeaturesExtractor):
    def __init__(self, observation_space):
        super().__init__(observation_space, 4)
        self.layer = torch.nn.Linear(observation_space.shape[0], 4)

    def forward(self, observations):
        return self.layer(observations)


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
        trained.learn(8 * STEPS, callback=auxiliary, log_interval=1_000)
    logged = {name: trained.logger.name_to_value[f"cpc/{name}"] for name in auxiliary.metrics}
    assert logged == auxiliary.metrics
    # The first update of a rollout is of steps that nothing was learned from yet.
    assert least < each[7 * 50]["accuracy"] <= most
    found = auxiliary.metrics
    assert np.isclose(found["bound"], found["ceiling"] - found["loss"], atol=1e-4)


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
