"""Where a command looks: which config file is meant, and what of it is enough to look around.

Commands that only look need to know where the daemon listens and where its state lives, and
nothing else: a config with a mistake elsewhere, or with secrets that only the daemon can see,
must not stop an operator from seeing how things are.
"""

from __future__ import annotations

import os
import re
import tomllib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from syncd.config import Address, Admin, Config, Journal, Mirror, load
from syncd.config.environment import override
from syncd.config.references import Surroundings, read_file
from syncd.config.section import Section
from syncd.config.units import parse_address
from syncd.errors import ConfigInvalid, Problem, SyncdError
from syncd.journal.reading import SqliteReader
from syncd.journal.whereabouts import whereabouts

_USUAL = (Path("config/sync.toml"), Path("/etc/syncd/sync.toml"))
_CONFIG_BYTES = 1 << 20
_SECRET = {"secret", "api_key", "token"}  # in the table of a source
_TABLES_TO_LOOK = re.compile(r"^\[(?:admin|journal|mirror)\].*\n(?:(?!\[).*\n?)*", re.MULTILINE)


def _remember(ctx: typer.Context, given: Path | None) -> Path | None:
    """Let `--config` before a command count for the command, too: contexts share their `meta`."""
    if given is not None:
        ctx.meta["syncd.config"] = given
    remembered: Path | None = ctx.meta.get("syncd.config")
    return remembered


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="PATH",
        callback=_remember,
        show_default=False,
        help="The config file; else $SYNCD_CONFIG, config/sync.toml, /etc/syncd/sync.toml.",
    ),
]


def config_path(given: Path | None) -> Path:
    """Find the config file that is meant. Raises ConfigInvalid where there is none."""
    if given is not None:
        return given
    if named := os.environ.get("SYNCD_CONFIG"):
        return Path(named)
    for usual in _USUAL:
        try:
            if usual.exists():
                return usual
        except PermissionError:  # a folder that may not be entered: reading it will say so
            return usual
    missing = " and ".join(map(str, _USUAL))
    message = f"no config: {missing} do not exist; `syncd init` writes one, --config PATH names another"
    raise ConfigInvalid([Problem("", None, "", message)])


@dataclass(frozen=True, slots=True)
class Places:
    """Where the daemon of a config answers, and where its state lives; of a running one, where it really does."""

    admin: Address
    journal: Path
    root: Path


def places(config: Path) -> Places:
    """Read only these of a config. Raises ConfigInvalid, with all that is wrong, where they can't be told."""
    around = _around(config)
    try:
        data = _read(config)
        journal = Path(_value(Journal, "url", data.get("journal"), around).removeprefix("sqlite:///"))
        if there := whereabouts(journal):
            return Places(parse_address(there.admin), journal, Path(there.root))
        return Places(
            admin=_value(Admin, "listen", data.get("admin"), around),
            journal=journal,
            root=_value(Mirror, "root", data.get("mirror"), around),
        )
    except (ValueError, RecursionError):
        load(config)  # says what is wrong, in the words that `check` uses
        raise


def public(config: Config) -> Address:
    """Where deliveries are taken: by a running daemon perhaps on a socket of systemd's, else where the config says."""
    there = whereabouts(config.journal.path)
    return parse_address(there.server) if there else config.server.listen


def judging(config: Path) -> Config:
    """Read of a config what says how deliveries are understood, files kept and failures borne; the rest is default.

    Secrets are left out: they are the daemon's. Raises ConfigInvalid, with all that is wrong.
    """
    try:
        data = _read(config)
        wanted = {name: data[name] for name in ("sources", "mirror", "journal", "retry", "manifest") if name in data}
        wanted["sources"] = {name: _without_secrets(table) for name, table in wanted["sources"].items()}
        return Config.model_validate(wanted, context=_around(config))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        load(config)  # says what is wrong, in the words that `check` uses
        raise


def _without_secrets(source: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in source.items() if key not in _SECRET}
    return {**kept, "require_signature": False}


def _around(config: Path) -> Surroundings:
    return Surroundings(Path(os.path.abspath(config)).parent, os.environ)  # noqa: PTH100 - symlinks are kept


def _read(config: Path) -> dict[str, Any]:
    """Parse a config, its overrides included. Raises ValueError."""
    content, _ = read_file(config, limit=_CONFIG_BYTES)
    data = _tables(content.decode("utf-8-sig"))
    override(data, os.environ)
    return data


def _tables(text: str) -> dict[str, Any]:
    """Parse a config, or only the tables that matter here while another one is being edited."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return tomllib.loads("".join(match[0] for match in _TABLES_TO_LOOK.finditer(text)))


def _value(section: type[Section], key: str, table: object, around: Surroundings) -> Any:
    given = {key: table[key]} if isinstance(table, dict) and key in table else {}
    return getattr(section.model_validate(given, context=around), key)


def reading(config: Path, where: Places) -> closing[SqliteReader]:
    """Open the journal to look into it. Where there is none yet, a config that is wrong is what to say first."""
    if not os.path.exists(where.journal):  # noqa: PTH110 - Path.exists raises where a folder can't be entered
        load(config)
    return closing(SqliteReader(where.journal))


def below(root: Path, text: str) -> list[str]:
    """The paths below the mirror's root that a text may mean: as a file named from here, or from the root.

    Links on the way to the root are followed, the last part never is. Raises BadParameter where
    it can only mean something elsewhere.
    """
    seen = os.path.abspath(text)  # noqa: PTH100 - resolve() would follow the last part
    real = Path(os.path.realpath(os.path.dirname(seen)), os.path.basename(seen))  # noqa: PTH119, PTH120 - see above
    around = {real: Path(os.path.realpath(root)), Path(seen): root}
    found = [str(path.relative_to(top)) for path, top in around.items() if path.is_relative_to(top)]
    plain = os.path.normpath(text)
    if not (os.path.isabs(plain) or plain.startswith("..")):  # noqa: PTH117 - see above
        found.append(plain)
    if not found:
        raise typer.BadParameter(f"{text} is not below the mirror {root}")
    return list(dict.fromkeys(found))


def reachable(listen: Address) -> str:
    """Write `host:port` for a client on this machine; a unix socket has no host of its own.

    Raises SyncdError for port 0, which is another one at every start.
    """
    if listen.path:
        return "localhost"
    if listen.port == 0:
        raise SyncdError("the config listens on any free port, which only the daemon's log tells")
    this_machine = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here
    return str(listen._replace(host=this_machine.get(listen.host, listen.host)))
