"""Train an agent with memory, and its encoder beside it by predicting what will be seen."""

from sb3_contrib import RecurrentPPO

from sidle import seeding
from sidle.cpc import agent_checkpoint
from sidle.cpc.agent import AuxiliarySettings, ContrastiveCallback, controls
from sidle.ppcg import curriculum, playable
from sidle.ppcg.agents.network import TilePlanes
from sidle.ppcg.agents.settings import NetworkSettings
from sidle.ppcg.stable_baselines import StableBaselinesEnvironment
from sidle.ppcg.vector_environment import VectorEnvironment

STEPS = 16 * 32 * 8
orchard = playable.find("orchard")


def encoder(observation_space, channels):
    return TilePlanes(channels, observation_space.shape[1:], NetworkSettings(features=64, stride=1))


def agent():
    """Return an agent that sees 5 x 5 tiles around itself: what lies outside, it must remember."""
    levels = VectorEnvironment(
        orchard, 16, curriculum=curriculum.Fixed(0.3), ego_window=5, max_episode_steps=200
    )
    return RecurrentPPO(
        "MlpLstmPolicy",
        StableBaselinesEnvironment(levels),
        n_steps=32,
        batch_size=32 * 16,  # all of a rollout, once: this PPO is A2C
        n_epochs=1,
        learning_rate=1e-3,
        policy_kwargs={
            "net_arch": [],
            "features_extractor_class": encoder,
            "features_extractor_kwargs": {"channels": orchard.game.channels},
            "lstm_hidden_size": 64,
            "shared_lstm": True,
            "enable_critic_lstm": False,
        },
        seed=0,
        device="cpu",
    )


loss = AuxiliarySettings(steps=4, context="agent", negatives=64, updates=6, learning_rate=2e-3)
for name, settings in {"cpc": loss, "shuffled-time": controls(loss)["shuffled-time"]}.items():
    with seeding.scope(0):
        model, auxiliary = agent(), ContrastiveCallback(settings, seed=0)
        keeper = agent_checkpoint.KeepCheckpoints(f"{name}.safetensors", auxiliary)
        with keeper.interrupts_wait():
            model.learn(STEPS, callback=[auxiliary, keeper])
    told = auxiliary.metrics
    print(
        f"{name}: after {model.num_timesteps:,} ticks, what will be seen is told from 64 others "
        f"{told['accuracy']:.0%} of the time; memory knows at least {told['bound']:.2f} nats of it"
    )

again, auxiliary = agent(), ContrastiveCallback(loss, seed=0)
with seeding.scope(0):
    done = agent_checkpoint.load("cpc.safetensors", again, auxiliary)
print(f"from cpc.safetensors training goes on at tick {done:,}, as if it had never stopped")
