"""Pictures in the terminal: their shape, their axes, and ASCII where nothing else can be shown."""

from sidle.cli import chart
from sidle.cli.chart import Curve

RISE = Curve("rise", (0.0, 1.0), (0.0, 40.0))
LEVEL = Curve("level", (0.0, 1.0), (20.0, 20.0), dashed=True)


def rows(*curves, **options):
    options = {
        "title": "Error",
        "ends": ("A", "B"),
        "unit": " %",
        "width": 20,
        "height": 9,
    } | options
    return chart.draw(curves, **options).plain.split("\n")


def test_a_rising_line_in_ascii():
    title, *field = rows(RISE, ascii_only=True)
    assert title == "Error"
    assert [row[:7] for row in field[:9:2]] == [
        "42 % | ",
        "32 % | ",
        "21 % | ",
        "10 % | ",
        " 0 % |*",
    ]
    columns = [row.index("*") for row in field[:9]]
    assert columns == sorted(columns, reverse=True)
    assert field[9].strip() == "+" + "-" * 20
    assert field[10].split() == ["A", "B"]
    assert field[11].split() == ["**", "rise"]


def test_braille_has_eight_times_the_dots():
    field = rows(RISE)[1:10]
    dots = [character for row in field for character in row if 0x2800 < ord(character) < 0x2900]
    assert 20 <= len(dots) <= 29  # a diagonal through 20 columns and 9 rows
    assert field[0].rstrip()[-1] in dots
    assert field[8][6] in dots


def test_dashes_are_gaps_and_names_stand_below():
    lines = rows(RISE, LEVEL)
    level = lines[5][6:]
    assert level.count(" ") >= 8
    assert lines[-2].strip() == "━━ rise"
    assert lines[-1].strip() == "╌╌ level"


def test_a_flat_curve_and_small_numbers_have_axes_too():
    flat = rows(Curve("flat", (0.0, 0.5, 1.0), (5.0, 5.0, 5.0)))
    assert flat[1].startswith("6.0 %")
    assert flat[9].startswith("4.0 %")
    small = rows(Curve("small", (0.0, 1.0), (0.0, 0.2)), unit="")
    assert small[1].startswith("0.21")
    assert small[9].startswith("0.00")  # no error is below 0


def test_the_first_curve_lies_on_top():
    both = chart.draw([RISE, Curve("same", RISE.x, RISE.y)], title="", ends=("A", "B"), width=20)
    styles = {str(span.style) for span in both.spans if both.plain[span.start] > "\u2800"}
    assert styles == {f"bold {chart.COLOURS[0]}"}
