"""CPC beside an agent of Stable-Baselines3: a callback, and nothing of theirs changed.

    model = A2C("CnnPolicy", environment, n_steps=32)
    model.learn(1_000_000, callback=ContrastiveCallback(AuxiliarySettings(steps=8), seed=0))

At the end of each rollout, before the agent learns from it, the rollout is cut into pieces of
episodes (`sidle.cpc.agent_rollouts`), and the encoder that policy and value share takes steps of
its own optimiser to tell what will be seen from what was seen and done [CPC, section 3.4; PBL].
Observations that look alike are never each other's negatives. Where to begin again is in
`sidle.cpc.agent_checkpoint`; what to compare with in `sidle.cpc.agent_settings.controls`.

Letters: B = pieces; L = steps of the longest; R = steps of a rollout; D = features of the encoder.
References: [CPC] van den Oord, Li & Vinyals 2018, arXiv:1807.03748. [PBL] Guo et al. 2018,
arXiv:1811.06407.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from sidle import seeding
from sidle.cpc.agent_rollouts import Observations, Pieces, cut, shifted
from sidle.cpc.agent_settings import SHORTEST_ROLLOUT, AuxiliarySettings, controls
from sidle.cpc.contexts import GRUContext
from sidle.cpc.model import ContrastivePredictiveCoding
from sidle.cpc.negatives import Mixed
from sidle.cpc.predictors import ActionPredictor, LinearPredictor
from sidle.errors import ArgumentError, CheckpointError, MissingExtraError

try:
    from gymnasium import spaces
    from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
except ImportError as error:
    raise MissingExtraError("Training agents with Stable-Baselines3", "rl") from error

__all__ = ["AuxiliarySettings", "ContrastiveCallback", "controls"]


class ContrastiveCallback(BaseCallback):
    """Trains the encoder of A2C, PPO or RecurrentPPO by CPC after each rollout.

    Logs ``cpc/loss``, ``cpc/accuracy``, ``cpc/bound`` and ``cpc/ceiling`` in nats, and
    ``cpc/weight``.

    Args:
        settings: of the loss.
        seed: names initial weights and all draws of the callback.

    Attributes:
        n_rollouts: learned from so far.
        metrics: what the last rollout's last update found, under the names above without ``cpc/``;
            the weight alone where nothing could be predicted, nothing before the first rollout.
        cpc: context and predictor; None before training starts.

    Raises:
        ArgumentError: when training starts: rollouts below 32 steps, an encoder that is not shared
            or has nothing to learn, or settings that the policy does not fit.
    """

    def __init__(self, settings: AuxiliarySettings | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.settings = AuxiliarySettings() if settings is None else settings
        self.seed = seed
        self.n_rollouts = 0
        self.metrics: dict[str, float] = {}
        self.cpc: ContrastivePredictiveCoding | None = None
        self.optimizer: torch.optim.Adam | None = None

    def attach(self, model: OnPolicyAlgorithm) -> None:
        """Make context, predictor and optimiser in the shapes of ``model``; once.

        Raises:
            ArgumentError: as the class.
        """
        if self.cpc is not None:
            return
        settings, policy = self.settings, model.policy
        _check(model, settings)
        D = policy.features_extractor.features_dim
        agent = settings.context == "agent"
        units = cast(Any, policy).lstm_output_dim if agent else settings.context_features
        with seeding.scope(seeding.split(self.seed, "weights")):
            context = _Given(units) if agent else GRUContext(D, units)
            predictor: nn.Module = LinearPredictor(units, D, settings.steps)
            if settings.actions:
                predictor = ActionPredictor(
                    units, D, settings.steps, **_action_size(model.action_space)
                )
        self.cpc = ContrastivePredictiveCoding(
            _Given(D),
            context,
            predictor,
            steps=settings.steps,
            negatives=Mixed(settings.negatives),
            seed=seeding.split(self.seed, "negatives"),
        ).to(model.device)
        shared = list(policy.features_extractor.parameters())
        if agent:
            shared += list(cast(Any, policy).lstm_actor.parameters())
        self.optimizer = torch.optim.Adam(
            [{"params": shared}, {"params": list(self.cpc.parameters())}],
            lr=settings.learning_rate,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next rollout's steps depend on but the policy, as a tree."""
        if self.cpc is None or self.optimizer is None:
            raise ArgumentError("ContrastiveCallback: nothing to keep before training has begun.")
        return {
            "cpc": self.cpc.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "n_rollouts": self.n_rollouts,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned; `attach` comes first.

        Raises:
            CheckpointError: the state is of other settings.
        """
        if self.cpc is None or self.optimizer is None:
            raise ArgumentError("ContrastiveCallback: attach(model) before load_state_dict.")
        try:
            self.cpc.load_state_dict(state_dict["cpc"])
            self.optimizer.load_state_dict(state_dict["optimizer"])
            self.n_rollouts = int(state_dict["n_rollouts"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"The checkpoint does not fit the settings of ContrastiveCallback: {error}. Make "
                "it as it was when the checkpoint was written."
            ) from error

    def _on_training_start(self) -> None:
        self.attach(cast(OnPolicyAlgorithm, self.model))

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        model, settings = cast(OnPolicyAlgorithm, self.model), self.settings
        assert self.cpc is not None
        assert self.optimizer is not None
        generator = seeding.torch_generator(seeding.split(self.seed, "rollout", self.n_rollouts))
        self.n_rollouts += 1
        buffer: Any = model.rollout_buffer
        pieces = cut(buffer.episode_starts)
        weight = settings.weight_at(model.num_timesteps, model._total_timesteps)
        self.optimizer.param_groups[0]["lr"] = weight * settings.learning_rate
        self.metrics = {"weight": weight}
        if settings.shift:
            _shift(buffer, settings.shift, generator)
        # With no piece there is no future: in this rollout every episode lasts a step.
        for _ in range(settings.updates if len(pieces.length_B) else 0):
            found = self._update(model, pieces, generator)
            self.metrics |= {name: found[name] for name in ("loss", "accuracy", "bound", "ceiling")}
        for name, value in self.metrics.items():
            self.logger.record(f"cpc/{name}", value)

    def _update(
        self, model: OnPolicyAlgorithm, pieces: Pieces, generator: torch.Generator
    ) -> dict[str, float]:
        assert self.cpc is not None
        assert self.optimizer is not None
        settings, policy = self.settings, model.policy
        buffer: Any = model.rollout_buffer
        B = len(pieces.length_B)
        if settings.pieces is not None and settings.pieces < B:
            pieces = pieces.some(torch.randperm(B, generator=generator)[: settings.pieces])
        first_B = pieces.row_BL[:, 0]
        if settings.shuffled_time:
            pieces = pieces.shuffled(generator)
        mask_BL = pieces.mask_BL
        row_R = pieces.row_BL[mask_BL]
        seen = _rows(buffer.observations, row_R)
        z_RD = cast(Any, policy).extract_features(
            _on(seen, model.device), policy.features_extractor
        )
        z_BLD = z_RD.new_zeros(*mask_BL.shape, z_RD.shape[1])
        z_BLD[mask_BL.to(model.device)] = z_RD
        item_BL = torch.full(mask_BL.shape, -1)
        item_BL[mask_BL] = _alike(seen)
        context = self._memory(model, z_BLD, first_B) if settings.context == "agent" else None
        actions = None
        if settings.actions:
            taken = torch.from_numpy(buffer.actions.reshape(-1, buffer.actions.shape[-1]))
            action_BLA = taken[pieces.row_BL]
            if isinstance(model.action_space, spaces.Discrete):
                actions = action_BLA[..., 0].long().to(model.device)
            elif isinstance(model.action_space, spaces.MultiDiscrete):
                actions = _one_hot(action_BLA.long(), model.action_space).to(model.device)
            else:
                actions = action_BLA.float().to(model.device)
        losses = self.cpc.contrast(
            z_BLD,
            context,
            lengths=pieces.length_B,
            items=item_BL,
            actions=actions,
            generator=generator,
        )
        self.optimizer.zero_grad()
        losses.loss.backward()  # type: ignore[no-untyped-call]
        every = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        nn.utils.clip_grad_norm_(every, settings.largest_gradient, error_if_nonfinite=True)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {name: float(value) for name, value in losses.metrics().items()}

    def _memory(self, model: OnPolicyAlgorithm, z_BLD: Tensor, first_B: Tensor) -> Tensor:
        """Return contexts of the policy's LSTM, begun from what it remembered then."""
        buffer: Any = model.rollout_buffer
        policy: Any = model.policy
        N = buffer.n_envs
        starts = torch.from_numpy(buffer.episode_starts.reshape(-1))[first_B]
        begun = []
        for kept in (buffer.hidden_states_pi, buffer.cell_states_pi):  # (T, layers, N, units)
            state = torch.from_numpy(kept)[first_B // N, :, first_B % N]
            state = torch.where(starts[:, None, None] != 0, 0.0, state)
            begun.append(state.transpose(0, 1).contiguous().to(model.device))
        context_LBH, _ = policy.lstm_actor(z_BLD.transpose(0, 1), tuple(begun))
        context: Tensor = context_LBH.transpose(0, 1)
        return context


class _Given(nn.Module):
    """Stands where latents or contexts come from the policy."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features


def _check(model: OnPolicyAlgorithm, settings: AuxiliarySettings) -> None:
    policy = model.policy
    if model.n_steps < SHORTEST_ROLLOUT or settings.steps >= model.n_steps:
        raise ArgumentError(
            f"ContrastiveCallback: rollouts must have at least {SHORTEST_ROLLOUT} steps and more "
            f"than the {settings.steps} predicted, got n_steps={model.n_steps}. Raise n_steps of "
            f"{type(model).__name__}."
        )
    if not policy.share_features_extractor:
        raise ArgumentError(
            "ContrastiveCallback: policy and value must share their features extractor. Train with "
            "share_features_extractor=True."
        )
    if not any(weight.requires_grad for weight in policy.features_extractor.parameters()):
        raise ArgumentError(
            f"ContrastiveCallback: {type(policy.features_extractor).__name__} has nothing to "
            "learn. Use 'CnnPolicy', or give policy_kwargs a features_extractor_class."
        )
    if settings.context == "agent" and not isinstance(policy, RecurrentActorCriticPolicy):
        raise ArgumentError(
            "ContrastiveCallback: context='agent' needs a policy with an LSTM, RecurrentPPO's; "
            f"{type(policy).__name__} has none. Use context='own'."
        )


def _action_size(space: spaces.Space[Any]) -> dict[str, int]:
    if isinstance(space, spaces.Discrete):
        return {"n_actions": int(space.n)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"action_features": int(space.nvec.sum())}
    return {"action_features": spaces.flatdim(space)}


def _one_hot(action_BLA: Tensor, space: spaces.MultiDiscrete) -> Tensor:
    parts = [nn.functional.one_hot(action_BLA[..., i], int(n)) for i, n in enumerate(space.nvec)]
    return torch.cat(parts, dim=-1).float()


def _rows(observations: Any, row_R: Tensor) -> Observations:
    """Return some steps of a rollout, each of its arrays (T, N, ...) seen as (T N, ...)."""
    parts = observations if isinstance(observations, dict) else {"": observations}
    return {
        key: torch.from_numpy(part.reshape(-1, *part.shape[2:]))[row_R]
        for key, part in parts.items()
    }


def _on(seen: Observations, device: torch.device) -> Tensor | Observations:
    moved = {key: part.to(device) for key, part in seen.items()}
    return moved[""] if set(moved) == {""} else moved


def _alike(seen: Observations) -> Tensor:
    """Return numbers int64 (R,), equal where observations are, to the last byte."""
    parts = [np.ascontiguousarray(part.numpy()).reshape(len(part), -1) for part in seen.values()]
    byte_RX = np.concatenate([part.view(np.uint8).reshape(len(part), -1) for part in parts], axis=1)
    whole_R = np.ascontiguousarray(byte_RX).view(np.dtype((np.void, byte_RX.shape[1])))[:, 0]
    return torch.from_numpy(np.unique(whole_R, return_inverse=True)[1].reshape(-1))


def _shift(buffer: Any, most: int, generator: torch.Generator) -> None:
    """Move the images of the rollout where they lie, so that the agent learns from them too."""
    whole = buffer.observations
    images = [p for p in (whole.values() if isinstance(whole, dict) else [whole]) if p.ndim == 5]
    if not images:
        raise ArgumentError(
            "ContrastiveCallback: shift moves images (C, H, W), but no observation is one. Set "
            "shift=0."
        )
    for part in images:
        flat = torch.from_numpy(part.reshape(-1, *part.shape[2:]))
        part[...] = shifted(flat, most, generator).numpy().reshape(part.shape)
