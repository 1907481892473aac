"""The loss of every step ahead: predictions against latents, as a plan of negatives says.

Letters: as `sidle.cpc.positions`; H = context features; P = negatives of an anchor.
References: [CPC] van den Oord, Li & Vinyals 2018, arXiv:1807.03748, equations 3 to 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sidle.cpc.negatives import Policy
from sidle.cpc.plans import NegativePlan
from sidle.cpc.positions import to_device
from sidle.errors import ShapeError
from sidle.mi.contrast import info_nce, info_nce_with_negatives
from sidle.mi.guarantees import Guarantee


@dataclass(frozen=True, eq=False)
class StepLosses:
    """What telling positives from negatives cost, and what it says.

    Attributes:
        loss: scalar with gradient, in nats: the mean over steps of the mean over anchors.
        losses_S: of each step, without gradient. 0 for a step that no sequence is long enough for.
        accuracy_S: share of positives with the highest score.
        ceiling_S: mean log N, in nats, which the bound cannot exceed.
        plan: which latents were negatives.
    """

    loss: Tensor
    losses_S: Tensor
    accuracy_S: Tensor
    ceiling_S: Tensor
    plan: NegativePlan

    @property
    def steps(self) -> tuple[int, ...]:
        """How far ahead each step predicts."""
        return self.plan.positions.steps

    @property
    def bound_S(self) -> Tensor:
        """Log N minus the loss of each step, nats: InfoNCE on this batch [CPC, eq. 5]."""
        return self.ceiling_S - self.losses_S

    @property
    def guarantee(self) -> Guarantee:
        """Of the bound: "lower" if negatives are drawn independently (see policies), or "none"."""
        return "lower" if self.plan.guaranteed else "none"

    def metrics(self) -> dict[str, Tensor]:
        """Return scalars by name: means over steps, and loss, accuracy and bound of each step."""
        used_S = (self.plan.weight_SN.sum(1) > 0).tolist()
        share = 1 / sum(used_S)
        rows = [row for row, used in enumerate(used_S) if used]
        found = {
            "loss": self.loss.detach(),
            "accuracy": self.accuracy_S.sum() * share,
            "bound": self.bound_S.sum() * share,
            "ceiling": self.ceiling_S.sum() * share,
        }
        named = (("loss", self.losses_S), ("accuracy", self.accuracy_S), ("bound", self.bound_S))
        return found | {
            f"{name}_{self.steps[r]}": values[r] for r in rows for name, values in named
        }


def contrast(
    z_BTUD: Tensor,
    context_BTUH: Tensor,
    plan: NegativePlan,
    predictor: nn.Module,
    policy: Policy,
    *,
    actions: Tensor | None = None,
    temperature: float = 1.0,
    cosine: bool = False,
) -> StepLosses:
    """Return the loss of predictions from contexts, against negatives as planned.

    Args:
        z_BTUD: latents.
        context_BTUH: contexts.
        plan: negatives of every anchor.
        predictor: see `sidle.cpc.predictors`.
        policy: narrows the plan once scores are known (`sidle.cpc.negatives.Hard`).
        actions: for predictors that want them.
        temperature, cosine: as for `sidle.mi.contrast.info_nce`.

    Raises:
        ShapeError: the predictor returns another shape than (S, N, D).
    """
    positions, device = plan.positions, z_BTUD.device
    S, N, D = len(positions.steps), len(positions.anchor_N), z_BTUD.shape[-1]
    flat_D = z_BTUD.reshape(-1, D)
    pool_MD = flat_D if positions.full else flat_D[to_device(positions.place_M, device)]
    at_N = to_device(positions.place_M[positions.anchor_N], device)
    prediction_SND = predictor(context_BTUH, at_N, actions)
    if prediction_SND.shape != (S, N, D):
        raise ShapeError(
            f"the predictor must return shape ({S}, {N}, {D}): steps, anchors, latent features; "
            f"got {tuple(prediction_SND.shape)}."
        )
    share_SN = to_device(plan.weight_SN, device)
    n_steps = int((plan.weight_SN.sum(1) > 0).sum())
    weight_SN = share_SN / n_steps
    # Where nothing is to be predicted, any latent stands in: its weight is 0.
    positive_SN = positions.positive_SN.clamp_min(0)
    plan = policy.narrow(_moved(plan, device), prediction_SND, pool_MD)
    if plan.index_GNP is None:
        found = info_nce(
            prediction_SND, pool_MD, positive=positive_SN, weight=weight_SN,
            temperature=temperature, cosine=cosine, reduction="sum",
        )  # fmt: skip
    else:
        positive_SND = pool_MD[to_device(positive_SN, device)]
        per_step = len(plan.index_GNP) > 1 and S > 1
        found = info_nce_with_negatives(
            prediction_SND.reshape(-1, D) if per_step else prediction_SND,
            positive_SND.reshape(-1, D) if per_step else positive_SND,
            plan.index_GNP.reshape(-1, plan.index_GNP.shape[2]),
            pool_MD=pool_MD,
            mask_NP=None if plan.mask_GNP is None else plan.mask_GNP.flatten(0, 1),
            weight=weight_SN.reshape(-1) if per_step else weight_SN,
            temperature=temperature,
            cosine=cosine,
            reduction="sum",
            check=False,
        )
    losses_SN, hits_SN = found.losses.reshape(S, N), found.hits.reshape(S, N)
    return StepLosses(
        loss=found.loss,
        losses_S=(losses_SN * share_SN).sum(1),
        accuracy_S=(hits_SN * share_SN).sum(1),
        ceiling_S=to_device(plan.ceiling_S, device),
        plan=plan,
    )


def _moved(plan: NegativePlan, device: torch.device) -> NegativePlan:
    """Return the plan with index and mask where scores are computed."""
    if plan.index_GNP is None or device.type == "cpu":
        return plan
    return NegativePlan(
        plan.positions,
        plan.policy,
        to_device(plan.index_GNP, device),
        None if plan.mask_GNP is None else to_device(plan.mask_GNP, device),
        plan.n_negatives_GN,
        plan.guaranteed,
    )
