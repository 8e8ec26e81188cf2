"""What a config file and an environment become: one value, or every problem at its line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from syncd.config import Config, Secret, load
from syncd.errors import ConfigInvalid, Problem

HERE = Path(__file__).parent
ENVIRON = {
    "SIGNING_SECRET": "whsec_new",
    "API_KEY": "key",
    "PROXY_URL": "http://user:s3cret@[::1]:3128",
    "PEOPLE_URL": "json://people.example.com/s3cret",
    "PURGE_URL": "https://user:s3cret@[::1]:8443/purge/{location}?soft=1",
    "HOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "OLD_HOOK_SECRET": "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx",
    "EMPTY": "",
    "CREDENTIALS_DIRECTORY": str(HERE / "credentials"),
}
LEAST = 'sources.abyssale.secret = { env = "SIGNING_SECRET" }\n'


def write(folder: Path, text: str, *, mode: int = 0o600) -> Path:
    path = folder / "config" / "sync.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def problems(path: Path, **environ: str) -> list[str]:
    """Every problem, with the path of the config's folder left out."""
    with pytest.raises(ConfigInvalid) as caught:
        load(path, ENVIRON | environ)
    return [str(problem).replace(f"{path.parent}/", "") for problem in caught.value.problems]


def overridden(folder: Path, **environ: str) -> Config:
    return load(write(folder, LEAST), ENVIRON | environ).config


@pytest.mark.parametrize("path", sorted(HERE.glob("*.good.toml")), ids=lambda path: path.name)
def test_a_good_config_loads_without_a_warning(path):
    assert load(path, ENVIRON).warnings == ()


@pytest.mark.parametrize("path", sorted(HERE.glob("*.bad.toml")), ids=lambda path: path.name)
def test_a_bad_config_is_refused_with_every_problem_at_its_line(path):
    expected = [
        f"{path.name}:{line.removeprefix('# expect: ')}".replace(": : ", ": ")
        for line in path.read_text().splitlines()
        if line.startswith("# expect: ")
    ]
    found = problems(path)
    assert len(found) == len(expected), found
    for problem, wanted in zip(found, expected, strict=True):
        # The library's own words, which differ between its versions, are left open.
        assert problem == wanted or (wanted.endswith(" ...") and problem.startswith(wanted[:-4]))


def test_all_written_values_arrive():
    config = load(HERE / "full.good.toml", ENVIRON).config
    assert str(config.server.listen) == "[::1]:9080"
    assert config.server.max_body == 512 << 10
    assert config.server.tls is not None
    assert config.server.tls.key == HERE / "tls/key.pem"
    assert config.admin.listen.path == "/run/syncd/admin.sock"
    abyssale = config.sources.abyssale
    assert abyssale is not None
    assert [secret.text for secret in abyssale.secret] == ["whsec_new", "whsec_old"]
    assert abyssale.api_key == Secret("key")
    assert abyssale.templates == ("summer-*", "!draft-*")
    assert config.mirror.root == Path("/srv/mirror")
    assert (config.mirror.file_mode, config.mirror.dir_mode) == (0o640, 0o2750)
    assert config.mirror.min_free == 500_000_000
    assert config.journal.path == Path("/var/lib/syncd/journal.db")
    assert (config.download.connect_timeout, config.download.stall_timeout) == (2.5, 0.25)
    assert config.download.proxy == Secret("http://user:s3cret@[::1]:3128")
    assert config.retry.first == config.retry.longest == 0.1
    assert abyssale.silent_after == 48 * 3600
    assert config.approval.publish == ("APPROVED", "NONE")
    assert config.mirror.public_url == "https://cdn.example.com/banners"
    (people,), (purge,) = config.notify, config.hooks
    assert (people.shown, people.max_delay, people.on) == ("people", 0.0, ("*",))
    assert purge.headers["Fastly-Key"] == Secret("key")
    assert [secret.text[:6] for secret in purge.secret] == ["whsec_", "MfKQ9r"]
    assert config.wanted == {"*", "asset.*", "abstract.*"}


def test_relative_paths_start_at_the_folder_of_the_path_as_given(tmp_path, monkeypatch):
    real = write(tmp_path, LEAST)
    (tmp_path / "deep" / "etc").mkdir(parents=True)
    (tmp_path / "deep" / "etc" / "sync.toml").symlink_to(real)
    monkeypatch.chdir(tmp_path / "deep")
    loaded = load(Path("etc/sync.toml"), ENVIRON)
    assert loaded.config.mirror.root == tmp_path / "deep" / "mirror"
    assert loaded.config.journal.path == tmp_path / "deep" / "state" / "journal.db"
    assert loaded.files == {tmp_path / "deep" / "etc" / "sync.toml"}


def test_every_file_that_the_config_was_made_from_is_named():
    assert load(HERE / "full.good.toml", ENVIRON).files == {
        HERE / "full.good.toml", HERE / "secrets/old", HERE / "tls/cert.pem", HERE / "tls/key.pem",
    }  # fmt: skip
    assert HERE / "credentials/old" in load(HERE / "rotating.good.toml", ENVIRON).files


def test_a_refusal_names_the_files_that_may_mend_it():
    with pytest.raises(ConfigInvalid) as caught:
        load(HERE / "secrets.bad.toml", ENVIRON)
    assert caught.value.files >= {HERE / "secrets.bad.toml", HERE / "secrets/none", HERE / "credentials/none"}


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://proxy.example:3128",
            "https://10.0.0.1:443/",
            "http://[::1]:3128",
            "http://user@h:1",
            "http://:p@h:1",
        ),
        *("http://us%40er:p%2Fw%C3%A4%25@h:65535", "http://user:a:b!$&'()*+,;=@h:1"),
    ],
)
def test_a_proxy_is_an_http_url_with_a_port(tmp_path, url):
    assert overridden(tmp_path, SYNCD_DOWNLOAD__PROXY=url).download.proxy == Secret(url)


@pytest.mark.parametrize(
    "url",
    [
        *("h:3128", "http://h", "http://h:0", "http://h:65536", "http://h:x", "socks5://h:1", "http://s3cret:p@h"),
        *("http://user:s3cret#@h:1", "http://user:s3/cret@h:1", "http://user:s3cret@@h:1", "http://u:s3cret @h:1"),
        *("http://h:1/s3cret", "http://h:1?s3cret", "http://u:s3cret%E2%82%AC@h:1", "http://u:s3cret%ff@h:1"),
        *("http://[::1:3128", "http://@@h:1", "HTTP://"),
    ],
)
def test_another_proxy_is_refused_without_its_password(tmp_path, url):
    (problem,) = problems(write(tmp_path, LEAST), SYNCD_DOWNLOAD__PROXY=url)
    assert problem.startswith("environment: download.proxy: must ")
    assert "s3cret" not in problem


def test_only_a_proxy_with_a_password_is_a_secret_in_clear(tmp_path):
    def warnings(url):
        text = f'{LEAST}download.proxy = "{url}"\n'
        return [warning.key for warning in load(write(tmp_path, text, mode=0o644), ENVIRON).warnings]

    assert warnings("http://h:3128") == []
    assert warnings("http://user:s3cret@h:3128") == ["download.proxy"]


def test_a_secret_file_loses_its_line_end_only(tmp_path):
    path = write(tmp_path, 'sources.abyssale.secret = { file = "key" }')
    (path.parent / "key").write_bytes(b" two words \r\n")
    source = load(path, {}).config.sources.abyssale
    assert source is not None
    assert source.secret == (Secret(" two words "),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "is not UTF-8 text"),
        (b"x" * 70_000, "is larger than 65536 bytes"),
        (b"\n", "is empty"),
        (b"a\nb\n", "has characters that can't be printed, such as a line end"),
    ],
)
def test_an_unusable_secret_file_is_named_and_never_quoted(tmp_path, content, message):
    path = write(tmp_path, 'sources.abyssale.secret = { file = "key" }')
    (path.parent / "key").write_bytes(content)
    assert problems(path) == [f"sync.toml:1: sources.abyssale.secret: key {message}"]


def test_a_pipe_in_place_of_a_file_is_refused_instead_of_waited_for(tmp_path):
    path = write(tmp_path, 'sources.abyssale.secret = { file = "key" }')
    os.mkfifo(path.parent / "key")
    assert problems(path) == ["sync.toml:1: sources.abyssale.secret: key is not a regular file"]


def test_a_variable_that_is_no_text_is_refused(tmp_path):
    (problem,) = problems(write(tmp_path, LEAST), SIGNING_SECRET=os.fsdecode(b"whsec_\xff"))
    assert problem.endswith("the variable SIGNING_SECRET has characters that can't be printed, such as a line end")


def test_a_credential_without_systemd_says_so(tmp_path):
    path = write(tmp_path, 'sources.abyssale.secret = { credential = "signing" }')
    assert problems(path, CREDENTIALS_DIRECTORY="") == [
        "sync.toml:1: sources.abyssale.secret: the credential signing needs systemd: $CREDENTIALS_DIRECTORY is not set"
    ]


def test_a_secret_in_clear_is_warned_of_where_others_can_read_the_file(tmp_path):
    text = '[sources.abyssale]\nsecret = [{ env = "API_KEY" }, "whsec_clear"]\napi_key = "clear"\n'
    assert load(write(tmp_path, text), ENVIRON).warnings == ()
    warnings = load(write(tmp_path, text, mode=0o640), ENVIRON).warnings
    assert [(warning.line, warning.key) for warning in warnings] == [
        (2, "sources.abyssale.secret[1]"),
        (3, "sources.abyssale.api_key"),
    ]
    assert "clear:" not in str(warnings)
    assert "whsec" not in str(warnings)


def test_a_secret_does_not_show_itself(tmp_path):
    path = write(tmp_path, 'sources.abyssale.secret = "whsec_hidden"')
    assert "whsec_hidden" not in repr(load(path, {}))
    assert "whsec_hidden" not in "".join(problems(path, SYNCD_RETRY__ATTEMPTS="0"))


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"a = 1\nb = '\xe9'\n", 2, "must be UTF-8 text"),
        (b"a = [\n 1,\n", 2, "is not TOML: Invalid value"),
        (b"a = 1\na = 2\n", 2, "is not TOML: Cannot overwrite a value"),
        (b"a = " + b"[" * 100_000, None, "is nested too deeply"),
        (b"#" * (2 << 20), None, "is larger than 1048576 bytes"),
    ],
    ids=["encoding", "unfinished", "twice", "nesting", "size"],
)
def test_a_text_that_is_no_config_is_a_problem_like_any_other(tmp_path, content, line, message):
    path = write(tmp_path, "")
    path.write_bytes(content)
    with pytest.raises(ConfigInvalid) as caught:
        load(path, {})
    assert caught.value.problems == (Problem(str(path), line, "", message),)


def test_a_missing_file_is_a_problem_like_any_other(tmp_path):
    assert problems(tmp_path / "sync.toml") == ["sync.toml: does not exist"]
    assert problems(tmp_path) == [f"{tmp_path}: can't be read: Is a directory".replace(f"{tmp_path.parent}/", "")]


def test_a_byte_order_mark_is_no_problem(tmp_path):
    assert load(write(tmp_path, "\ufeff" + LEAST), ENVIRON).warnings == ()


def test_a_journal_behind_a_symlink_into_the_tree_is_refused(tmp_path):
    path = write(tmp_path, LEAST)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "mirror")
    assert problems(path) == ["sync.toml:1: journal.url: must not lie in mirror.root, whose files are published"]


@pytest.mark.parametrize("root", [".", "..", "../linked"])
def test_what_a_config_is_made_from_must_not_be_published(tmp_path, root):
    text = f'{LEAST}sources.abyssale.api_key = {{ file = "key" }}\nmirror.root = "{root}"\n'
    path = write(tmp_path, f'{text}journal.url = "sqlite:////var/lib/syncd/journal.db"\n')
    (path.parent / "key").write_text("key")
    (tmp_path / "linked").symlink_to("config")
    assert problems(path) == [
        f"sync.toml:3: mirror.root: {file} must not lie in mirror.root, whose files are published"
        for file in ("key", "sync.toml")
    ]


def test_a_secret_elsewhere_must_not_lead_into_the_tree(tmp_path):
    path = write(tmp_path, f'{LEAST}sources.abyssale.api_key = {{ file = "key" }}\nretry.attempts = 0\n')
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "key").write_text("key")
    (path.parent / "key").symlink_to("../mirror/key")
    key, attempts = problems(path)
    assert key == "sync.toml:1: mirror.root: key must not lie in mirror.root, whose files are published"
    assert attempts.startswith("sync.toml:3: retry.attempts: ")


def test_the_environment_overrides_the_file(tmp_path):
    config = overridden(
        tmp_path,
        SYNCD_DOWNLOAD__CONCURRENCY="8",
        SYNCD_EXPORTS__EXTRACT="false",
        SYNCD_MIRROR__ROOT="/srv/tree",
        SYNCD_SOURCES__ABYSSALE__REQUIRE_SIGNATURE="false",
        SYNCD_SOURCES__ABYSSALE__TEMPLATES='["a", "b"]',
        SYNCD_SOURCES__ABYSSALE__SECRET='{ env = "API_KEY" }',
        SYNCD_CONFIG="/no/key.toml",
    )
    source = config.sources.abyssale
    assert source is not None
    assert config.download.concurrency == 8
    assert config.exports.extract is False
    assert config.mirror.root == Path("/srv/tree")
    assert source.require_signature is False
    assert source.templates == ("a", "b")
    assert source.secret == (Secret("key"),)


def test_an_override_that_wants_text_takes_digits_as_text(tmp_path):
    config = overridden(
        tmp_path,
        SYNCD_DOWNLOAD__BANDWIDTH="0",
        SYNCD_MIRROR__FILE_MODE="0640",
        SYNCD_MIRROR__DIR_MODE="750",
        SYNCD_SOURCES__ABYSSALE__SECRET="12345",
        SYNCD_SOURCES__ABYSSALE__API_KEY="2026-11-21",
    )
    source = config.sources.abyssale
    assert source is not None
    assert config.download.bandwidth == 0
    assert (config.mirror.file_mode, config.mirror.dir_mode) == (0o640, 0o750)
    assert source.secret == (Secret("12345"),)
    assert source.api_key == Secret("2026-11-21")


def test_an_override_of_a_part_replaces_a_value_without_parts(tmp_path):
    path = write(tmp_path, 'sources.abyssale.secret = "whsec_old"')
    source = load(path, ENVIRON | {"SYNCD_SOURCES__ABYSSALE__SECRET__ENV": "API_KEY"}).config.sources.abyssale
    assert source is not None
    assert source.secret == (Secret("key"),)


def test_an_override_can_not_smuggle_in_a_second_key(tmp_path):
    (problem,) = problems(write(tmp_path, LEAST), SYNCD_SOURCES__ABYSSALE__PATH='"/x"\nother = 1')
    assert problem.startswith("environment: sources.abyssale.path: must be a path")


def test_a_wrong_override_is_told_from_a_wrong_line(tmp_path):
    path = write(tmp_path, LEAST + "[retry]\nattempts = 0\n")
    assert problems(path, SYNCD_LOG__LEVEL="", SYNCD_MIRROR__KEEP_VERSIONS="many") == [
        "sync.toml:3: retry.attempts: must be from 1 to 100",
        'environment: log.level: must be "debug", "info", "warning" or "error" (from SYNCD_LOG__LEVEL)',
        "environment: mirror.keep_versions: must be a whole number, without quotes (from SYNCD_MIRROR__KEEP_VERSIONS)",
    ]


@pytest.mark.parametrize(
    ("variable", "problem"),
    [
        ("SYNCD_DOWNLOAD__CONCURENCY", "download.concurency: is not a known key; the nearest is download.concurrency"),
        ("SYNCD_SOURCES__ABYSSALE__SECRET__ENV", "sources.abyssale.secret: the variable NOT_SET is not set"),
        ("SYNCD_SERVER__", 'server."": is not a known key; the nearest is server.trusted_proxies'),
    ],
)
def test_an_override_is_named_where_it_goes_wrong(tmp_path, variable, problem):
    found = problems(write(tmp_path, LEAST), **{variable: "NOT_SET"})
    assert found == [f"environment: {problem} (from {variable})"]


def test_a_config_is_frozen_and_equal_to_itself_loaded_again():
    first, second = (load(HERE / "full.good.toml", ENVIRON).config for _ in range(2))
    assert first == second
    with pytest.raises(ValueError, match="frozen"):
        first.download.concurrency = 1


def test_a_memory_shorter_than_what_may_come_again_is_doubtful(tmp_path):
    def doubts(retention):
        text = f'[sources.abyssale]\nsecret = {{ env = "SECRET" }}\n[journal]\nretention = "{retention}"\n'
        return load(write(tmp_path, text), ENVIRON | {"SECRET": "whsec_1"}).warnings

    assert doubts("2d") == ()
    (doubt,) = doubts("47h")
    assert (doubt.line, doubt.key) == (4, "journal.retention")
    assert doubt.message == "what comes again later than that counts as new: give 2d or more"
