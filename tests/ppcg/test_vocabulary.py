"""The page about VGDL names all that is understood, and the numbers of the kernels are distinct."""

import re
from pathlib import Path

import pytest

from sidle.ppcg import compiling, vocabulary

PAGE = (Path(__file__).parents[2] / "docs" / "vgdl.md").read_text(encoding="utf-8")
TABLES = (vocabulary.CLASSES, vocabulary.EFFECTS, vocabulary.TERMINATIONS)


def section(title):
    """The words of one section of the page."""
    return re.search(rf"^## {title}$(.*?)^## ", PAGE, flags=re.MULTILINE | re.DOTALL).group(1)


def row(title, name):
    """What the page says of a class, an effect or an ending."""
    (found,) = [
        line for line in section(title).splitlines()
        if line.startswith("|") and f"`{name}`" in line.split("|")[1]
    ]  # fmt: skip
    return found


def test_nothing_is_missing_and_no_number_comes_twice():
    assert [len(table) for table in TABLES] == [18, 21, 3]
    for table in TABLES:
        numbers = [entry.number for entry in table.values()]
        assert sorted(numbers) == list(range(len(table)))


@pytest.mark.parametrize("name", vocabulary.CLASSES)
def test_the_page_has_every_class_with_its_speed(name):
    assert row("SpriteSet", name).endswith(f"| {vocabulary.CLASSES[name].speed:.0f} |")


@pytest.mark.parametrize("name", vocabulary.SPRITE_PARAMETERS)
def test_the_page_has_every_parameter_of_sprites(name):
    assert row("SpriteSet", name)


def test_the_page_has_every_parameter_that_changes_nothing():
    for name in vocabulary.DRAWING_PARAMETERS:
        assert f"`{name}`" in section("SpriteSet")


@pytest.mark.parametrize("name", vocabulary.EFFECTS)
def test_the_page_has_every_effect_with_its_parameters(name):
    for parameter in vocabulary.EFFECTS[name].parameters:
        if (name, parameter) != ("addHealthPoints", "stype"):  # read, with a warning, to no effect
            assert f"`{parameter}" in row("InteractionSet", name), parameter
    for parameter in vocabulary.EFFECT_PARAMETERS:
        assert f"`{parameter}" in section("InteractionSet")


@pytest.mark.parametrize("name", vocabulary.TERMINATIONS)
def test_the_page_has_every_ending_with_its_parameters(name):
    for parameter in set(vocabulary.TERMINATIONS[name].parameters) - {"win"}:
        assert f"`{parameter}" in row("TerminationSet", name)


def test_the_page_s_example_is_understood():
    (example,) = re.findall(r"^```vgdl\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    game = compiling.describe(example, "page")
    found = {leaf.name: leaf for leaf in game.types}
    assert found["red"].class_name == found["blue"].class_name == "Chaser"
    assert found["red"].parameters["cooldown"] == found["blue"].parameters["cooldown"] == 4
    assert found["blue"].parameters["speed"] == 0.5
    assert [game.types[kind].name for kind in game.subtypes["ghost"]] == ["red", "blue"]
