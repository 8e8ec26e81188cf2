import asyncio
import shutil
import sys

import pytest
from cli.command import ENVIRONMENT, command, process


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", "complete -o default -F _syncd_completion syncd"),
        ("zsh", "compdef _syncd_completion syncd"),
        ("fish", "complete --command syncd"),
    ],
)
def test_each_shell_gets_its_script(shell, words):
    ended = command("completion", shell)
    assert (ended.code, ended.err) == (0, "")
    assert words in ended.out
    assert "_SYNCD_COMPLETE=complete_" + shell in ended.out


def test_another_shell_is_wrong_usage():
    assert command("completion", "csh").code == 2


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("syncd del", ["deliveries"]), ("syncd webhooks un", ["unsubscribe"]), ("syncd check --js", ["--json"])],
)
async def test_words_are_completed_out_of_the_command_tree(tmp_path, typed, offered):
    ended = await process(
        cwd=tmp_path, _SYNCD_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(typed.split()) - 1)
    )
    assert (ended.code, ended.out.split()) == (0, offered)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
async def test_bash_completes_with_the_script(tmp_path):
    (tmp_path / "syncd").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m syncd "$@"\n')
    (tmp_path / "syncd").chmod(0o755)
    ask = "COMP_WORDS=(syncd deliv); COMP_CWORD=1; _syncd_completion syncd; printf '%s\\n' \"${COMPREPLY[@]}\""
    child = await asyncio.create_subprocess_exec(
        "bash", "--norc", "-c", f"source <(syncd completion bash); {ask}",
        env={**ENVIRONMENT, "PATH": f"{tmp_path}:{ENVIRONMENT['PATH']}"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await child.communicate()
    assert out.decode().split() == ["deliveries"]
