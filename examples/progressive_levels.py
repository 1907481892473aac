"""Train an agent on levels that grow harder as it wins, then let it play levels nobody drew."""

from sidle.ppcg import agents, curriculum, playable

frogs = playable.find("frogs")
progressive = curriculum.PPCG(alpha=0.01, variant="uniform")
settings = agents.TrainSettings(steps=60_000)
agent = agents.train(frogs, progressive, settings, seed=0)
print(
    f"after {settings.steps:,} ticks levels of difficulty 0 to {progressive.present:.2f} are played"
)

chance = agents.RandomAgent(len(frogs.game.actions))
for difficulty in (0.0, 0.25, 0.5):
    levels = agents.generated_levels(frogs, difficulty, 100, seed=1)
    won, by_chance = (
        agents.evaluate_agent(player, frogs, levels, seed=2).win_rate for player in (agent, chance)
    )
    print(
        f"difficulty {difficulty:4}: {won.mean:4.0%} of new levels won "
        f"({won.low:.0%} to {won.high:.0%}), by chance {by_chance.mean:.0%}"
    )

agent.save("frogs-agent")
print("watch it: sidle play frogs --agent frogs-agent")
