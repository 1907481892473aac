"""Settings of the loss beside an agent's: the weight over time, controls, refusals."""

import dataclasses

import pytest

from sidle.cpc.agent_settings import AuxiliarySettings, controls
from sidle.errors import ArgumentError


@pytest.mark.parametrize(
    ("n_steps", "expected"), [(0, 2.0), (250, 1.75), (500, 1.5), (1_000, 1.0), (5_000, 1.0)]
)
def test_the_weight_moves_in_a_straight_line_and_stays(n_steps, expected):
    settings = AuxiliarySettings(weight=2.0, final_weight=1.0, anneal_steps=1_000)
    assert settings.weight_at(n_steps, 10_000) == expected


def test_without_a_step_the_weight_arrives_when_training_ends():
    settings = AuxiliarySettings(weight=0.0, final_weight=1.0)
    assert [settings.weight_at(n, 200) for n in (0, 50, 200)] == [0.0, 0.25, 1.0]
    assert AuxiliarySettings(weight=0.5).weight_at(199, 200) == 0.5


def test_controls_change_what_they_are_called_and_nothing_else():
    settings = AuxiliarySettings(
        steps=5, weight=2.0, final_weight=1.0, anneal_steps=10, updates=3, shift=2
    )
    found = controls(settings)
    assert list(found) == ["no-loss", "shuffled-time", "augmentation-alone"]
    still = {"weight": 0.0, "final_weight": None, "anneal_steps": None}
    assert found["no-loss"] == dataclasses.replace(settings, **still, shift=0)
    assert found["shuffled-time"] == dataclasses.replace(settings, shuffled_time=True)
    # Moved as far as with the loss; where that moves nothing, as far as asked.
    assert found["augmentation-alone"] == dataclasses.replace(settings, **still, shift=2)
    plain = dataclasses.replace(settings, shift=0)
    assert controls(plain)["augmentation-alone"].shift == 4
    assert controls(plain, shift=1)["augmentation-alone"].shift == 1


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"steps": 0}, "steps"),
        ({"negatives": 0}, "negatives"),
        ({"updates": 0}, "updates"),
        ({"context_features": 0}, "context_features"),
        ({"pieces": 0}, "pieces"),
        ({"anneal_steps": 0, "final_weight": 1.0}, "anneal_steps"),
        ({"anneal_steps": 5}, "final_weight"),
        ({"weight": -1.0}, "weight"),
        ({"weight": float("nan")}, "weight"),
        ({"final_weight": float("inf")}, "final_weight"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"largest_gradient": float("inf")}, "largest_gradient"),
        ({"shift": -1}, "shift"),
        ({"context": "both"}, "context"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong, name):
    with pytest.raises(ArgumentError, match=name):
        AuxiliarySettings(**wrong)
