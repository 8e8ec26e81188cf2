import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from cli.command import ENVIRONMENT, command, process, write_config

from syncd import __version__
from syncd.cli import running


async def test_it_runs_as_a_module_and_says_its_version(tmp_path):
    ended = await process("--version", cwd=tmp_path)
    assert (ended.code, ended.out, ended.err) == (0, f"syncd {__version__}\n", "")


@pytest.mark.parametrize(
    "args", [["frobnicate"], ["check", "--frob"], ["send"], ["send", "NEW_THING"], ["schema", "x"]]
)
def test_wrong_usage_exits_2_and_says_so_on_stderr(args):
    ended = command(*args)
    assert (ended.code, ended.out) == (2, "")
    assert "Error" in ended.err


@pytest.mark.parametrize("name", ["retry", "replay", "verify", "explain", "doctor", "prune", "import", "webhooks"])
def test_every_command_of_an_operator_is_there(name):
    assert command(name, "--help").code == 0


async def test_an_invalid_config_exits_2_with_each_problem_on_a_line(tmp_path):
    path = write_config(tmp_path, more="[download]\nconcurency = 1\nper_host = 0\n")
    ended = await process("run", "--config", str(path), cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    first, second = ended.err.splitlines()
    assert first.startswith(f"{path}:2: download.concurency: is not a known key")
    assert second.startswith(f"{path}:3: download.per_host: ")


def test_a_failure_exits_1_with_what_to_do(tmp_path):
    path = write_config(tmp_path)
    ended = command("deliveries", "--config", path)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f"syncd: there is no journal at {tmp_path}/state/journal.db yet\nhint: `syncd run` makes it\n"


@pytest.mark.parametrize("args", [["status"], ["deliveries"], ["deliveries", "show", "x"], ["manifest", "export"]])
def test_a_config_that_is_wrong_is_what_a_command_says_that_finds_no_journal(tmp_path, args):
    path = write_config(tmp_path, more="[download]\nper_host = 0\n")
    ended = command(*args, "--config", path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"{path}:2: download.per_host: ")


def test_words_from_outside_can_not_move_the_cursor(tmp_path):
    ended = command("check", "--config", tmp_path / "a\x1b[2Jb\nc")
    assert ended.code == 2
    assert "a\\x1b[2Jb\\nc" in ended.out
    assert ended.out.count("\n") == 1


# ---- which config ----


@pytest.mark.parametrize("args", [["--config", "{}", "check"], ["check", "--config", "{}"]])
def test_the_config_is_named_before_or_after_the_command(tmp_path, args):
    path = write_config(tmp_path)
    ended = command(*(arg.format(path) for arg in args))
    assert (ended.code, ended.out, ended.err) == (0, f"{path} is valid\n", "")


def test_the_last_config_named_counts(tmp_path):
    path = write_config(tmp_path)
    assert command("--config", "nowhere", "check", "--config", path).code == 0
    assert command("--config", path, "check", "--config", "nowhere").code == 2


def test_a_group_of_commands_takes_the_config_as_well(tmp_path):
    path = write_config(tmp_path)
    for args in (["deliveries", "--config", path, "show", "x"], ["manifest", "--config", path, "export"]):
        assert "there is no journal" in command(*args).err
    for group in ("notify", "hooks"):
        assert "the config has no" in command(group, "--config", path, "test").err


def test_without_a_name_the_variable_then_the_usual_places_count(tmp_path, monkeypatch):
    path = write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert command("check").out == "config/sync.toml is valid\n"
    assert command("check", SYNCD_CONFIG=str(path)).out == f"{path} is valid\n"
    assert command("check", SYNCD_CONFIG="nowhere.toml").code == 2


def test_without_any_config_it_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = command("check")
    assert (ended.code, ended.out) == (2, "")
    for word in ("config/sync.toml", "/etc/syncd/sync.toml", "syncd init", "--config"):
        assert word in ended.err


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, which alone can become somebody else")
async def test_a_config_that_somebody_may_not_read_is_told_as_that(tmp_path):
    etc = tmp_path / "etc"
    etc.mkdir(mode=0o700)
    (etc / "sync.toml").touch()
    usual = (
        f"import pathlib; from syncd.cli import main, where; where._USUAL = [pathlib.Path({str(etc)!r}, 'sync.toml')]"
    )
    # What is loaded late is loaded first here: who is nobody may not be able to read this interpreter's files.
    load = "from syncd.cli import looking; from syncd.config import Config; Config.model_rebuild()"
    become = f"{load}; import os; os.setgid(65534); os.setuid(65534); main()"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"{usual}; {become}", "status",
        cwd="/", env=ENVIRONMENT, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await child.communicate()
    assert (child.returncode, err.decode()) == (2, f"{etc}/sync.toml: can't be read: Permission denied\n")


# ---- weight ----


async def test_a_command_loads_what_it_needs_and_no_other_command():
    look = (
        "import sys, typer; from syncd.cli import app; typer.main.get_command(app).commands['run']; "
        "print(sorted(name for name in sys.modules if name in ('syncd.cli.running', 'syncd.cli.webhooks', 'rich')))"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", look, stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate()
    assert out == b"['syncd.cli.running']\n"


# ---- ends ----


async def test_an_interrupt_while_it_loads_exits_130_without_a_traceback(tmp_path):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "syncd", "status",
        cwd=tmp_path, env=ENVIRONMENT | {"PYTHONPATH": str(tmp_path)}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await child.communicate()
    assert (child.returncode, err) == (130, b"")


def test_an_interrupt_exits_130_without_a_traceback(tmp_path, monkeypatch):
    def interrupted(_path):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "config_path", interrupted)
    ended = command("run")
    assert (ended.code, ended.out, ended.err) == (130, "", "")


async def test_a_reader_that_goes_away_is_no_error_to_talk_about(tmp_path):
    read, write = os.pipe()
    os.close(read)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "syncd", "schema", "manifest",
        cwd=tmp_path, env=ENVIRONMENT, stdout=write, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(write)
    _, err = await child.communicate()
    assert err == b""
    assert child.returncode in (1, -signal.SIGPIPE)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="takes a device that is always full")
async def test_output_that_finds_no_room_is_a_failure_in_words(tmp_path):
    full = os.open("/dev/full", os.O_WRONLY)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "syncd", "schema", "manifest",
        cwd=tmp_path, env=ENVIRONMENT, stdout=full, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(full)
    _, err = await child.communicate()
    assert (child.returncode, err) == (1, b"syncd: the output can't be written: No space left on device\n")
