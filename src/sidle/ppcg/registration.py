"""The built-in games under Gymnasium's names: "sidle/Zelda-v0" and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidle.ppcg.games import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMESPACE = "sidle"


def identifiers() -> Iterator[tuple[str, str]]:
    """Yield the name of each built-in game and its Gymnasium id."""
    for name in catalogue.names():
        yield name, f"{NAMESPACE}/{catalogue.identifier_of(name)}-v0"


def register() -> None:
    """Register every built-in game with Gymnasium, where that is installed.

    Nothing is compiled and no environment imported before one is made.
    """
    try:
        import gymnasium
    except ImportError:  # the extra rl is not installed: the engine works without
        return
    for name, identifier in identifiers():
        if identifier not in gymnasium.registry:
            gymnasium.register(
                id=identifier,
                entry_point="sidle.ppcg.environment:GameEnvironment",
                vector_entry_point="sidle.ppcg.vector_environment:VectorEnvironment",
                kwargs={"game": name},
            )
