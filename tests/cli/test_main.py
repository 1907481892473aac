"""The command as a person meets it: help, typing errors, exit codes, messages."""

import importlib
import subprocess
import sys

import pytest

import sidle
from sidle.cli import console, main
from sidle.errors import RunError


def test_help_lists_every_command_and_asks_for_nothing(capsys):
    assert main.main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name, command in main.COMMANDS.items():
        assert f"sidle {name}" in printed
        assert command.summary in printed


def test_no_command_is_a_usage_error(capsys):
    assert main.main([]) == 2
    assert "sidle run" in capsys.readouterr().out


def test_version(capsys):
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"sidle {sidle.__version__}"


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_explains_itself_with_an_example(name, capsys):
    try:
        code = main.main([*name.split(), "--help"])
    except SystemExit as exit_:
        code = exit_.code
    printed = capsys.readouterr().out
    assert not code
    assert f"Example: sidle {name}" in printed.replace("\n", " ")
    assert "--json" in printed or name == "run"


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_exists(name):
    command = main.COMMANDS[name]
    assert callable(getattr(importlib.import_module(command.module), command.function))


def test_mistyped_commands_get_a_hint(capsys):
    assert main.main(["clams"]) == 2
    assert "Did you mean 'sidle claims'?" in capsys.readouterr().err
    assert main.main(["data", "lst"]) == 2
    assert "Did you mean 'sidle data list'?" in capsys.readouterr().err


def test_a_group_lists_its_commands(capsys):
    assert main.main(["data"]) == 2
    printed = capsys.readouterr().out
    assert "sidle data fetch" in printed
    assert "sidle run" not in printed


def test_mistyped_flags_exit_with_2(capsys):
    with pytest.raises(SystemExit) as exit_:
        main.main(["claims", "--jsno"])
    assert exit_.value.code == 2
    assert "--json" in capsys.readouterr().err


def failing(error):
    def command(arguments):
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RunError("The run is gone."), 1, "sidle: The run is gone."),
        (KeyError("x"), 1, "unexpected KeyError"),
        (KeyboardInterrupt(), 1, "Interrupted."),
    ],
)
def test_errors_are_one_message_and_a_code(monkeypatch, capsys, error, code, said):
    monkeypatch.setattr("sidle.cli.report.claims", failing(error))
    assert main.main(["claims"]) == code
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed


def test_debug_shows_the_traceback(monkeypatch):
    error = RunError("The run is gone.")
    monkeypatch.setattr("sidle.cli.report.claims", failing(error))
    with pytest.raises(RunError):
        main.main(["claims", "--debug"])


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from sidle.cli.main import main; main(['--help']);"
        "print(sorted({'torch', 'numpy', 'tyro', 'rich', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_installed_program_answers():
    done = subprocess.run(
        [sys.executable, "-c", "from sidle.cli.main import entry_point; entry_point()", "claims",
         "--runs", "nowhere", "--json"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert "sidle run" in done.stderr


def test_durations_and_sizes_read_well():
    assert [console.seconds(s) for s in (0.04, 59.94, 61, 3600, 7825)] == [
        "0.0 s",
        "59.9 s",
        "1 min 01 s",
        "1 h 00 min",
        "2 h 10 min",
    ]
    assert [console.size(n) for n in (0, 999, 1000, 2_340_000, 5 * 10**15)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "2.3 MB",
        "5000.0 TB",
    ]
