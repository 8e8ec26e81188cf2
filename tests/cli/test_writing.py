import json

import pytest
from cli.command import command, process, write_config
from journal.filled import NOW, announce, banner, filled, publish, read_all
from jsonschema import Draft202012Validator

from syncd.config import load
from syncd.mirror import manifest
from syncd.mirror.index import Index
from syncd.model import FolderContents, Format, Listed, Template, TemplateStatus


async def test_init_writes_a_config_that_is_valid_once_the_secret_is_there(tmp_path):
    ended = await process("init", cwd=tmp_path)
    assert ended.code == 0
    assert ended.out == "wrote config/sync.toml\nwrote config/sync.schema.json\n"
    assert "syncd run" in ended.err
    checked = await process("check", cwd=tmp_path, ABYSSALE_SIGNING_SECRET="x")
    assert (checked.code, checked.out, checked.err) == (0, "config/sync.toml is valid\n", "")
    assert json.loads((tmp_path / "config/sync.schema.json").read_text()) == json.loads(command("schema", "config").out)


def test_init_makes_the_folder_it_is_given(tmp_path):
    assert command("init", tmp_path / "a" / "b").code == 0
    assert (
        load(tmp_path / "a/b/config/sync.toml", {"ABYSSALE_SIGNING_SECRET": "x"}).config.mirror.root
        == tmp_path / "a/b/mirror"
    )


def test_init_writes_the_config_that_is_named(tmp_path):
    ended = command("init", "--config", tmp_path / "foo" / "my.toml")
    assert (ended.code, ended.out) == (
        0, f"wrote {tmp_path}/foo/my.toml\nwrote {tmp_path}/foo/sync.schema.json\n",
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["foo"]
    assert command("init", tmp_path, "--config", tmp_path / "my.toml").code == 2


@pytest.mark.parametrize("name", ["sync.toml", "sync.schema.json"])
def test_init_never_overwrites(tmp_path, name):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / name).write_text("mine")
    ended = command("init", tmp_path)
    assert ended.code == 1
    assert f"{tmp_path}/config/{name} exists already" in ended.err
    assert [file.read_text() for file in (tmp_path / "config").iterdir()] == ["mine"]


def test_init_says_where_it_can_not_write(tmp_path):
    (tmp_path / "config").write_text("a file")
    ended = command("init", tmp_path)
    assert ended.code == 1
    assert "can't write" in ended.err


def test_check_names_every_problem_in_json(tmp_path):
    path = write_config(tmp_path, more="[download]\nconcurency = 1\nper_host = 0\n")
    ended = command("check", "--json", "--config", path)
    said = json.loads(ended.out)
    assert (ended.code, ended.err) == (2, "")
    assert (said["path"], said["valid"], said["warnings"]) == (str(path), False, [])
    assert [(problem["line"], problem["key"]) for problem in said["problems"]] == [
        (2, "download.concurency"),
        (3, "download.per_host"),
    ]


def test_check_warns_without_failing(tmp_path):
    path = write_config(tmp_path)
    path.chmod(0o644)
    ended = command("check", "--config", path)
    assert (ended.code, ended.out) == (0, f"{path} is valid\n")
    assert ended.err.startswith(f"warning: {path}:")
    (warning,) = json.loads(command("check", "--json", "--config", path).out)["warnings"]
    assert warning["key"] == "sources.abyssale.secret"


# ---- the schema of the manifests ----


@pytest.fixture(scope="module")
def valid():
    schema = json.loads(command("schema", "manifest").out)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


@pytest.fixture
async def manifests(tmp_path):
    """An index, a folder's manifest and an export's, made as the daemon makes them."""
    async with filled(tmp_path / "journal.db") as journal:
        html = banner(8, kind="html5", type="html5", version=None, sharing_id="", filename="8.zip")
        await read_all(journal)
        await announce(journal, "d-html", html)
        await publish(journal, html)
        (folder,), (export,) = await journal.stale(10)
    index = Index([manifest.line_of(folder)], [manifest.export_line(export)]).printed(sequence=1, generated_at=NOW)
    return {
        "index": json.loads(index),
        "folder": json.loads(manifest.folder_manifest(folder)),
        "export": json.loads(manifest.export_manifest(export)),
    }


def test_every_manifest_is_valid(manifests, valid):
    assert [len(manifests[kind][part]) for kind, part in (("index", "folders"), ("folder", "assets"))] == [1, 2]
    for said in manifests.values():
        valid.validate(said)


def test_a_folder_that_shares_nothing_and_has_a_status_is_valid(valid):
    assets = [banner(1), banner(2, template=Template("t2", ""), format=Format())]
    ours = ("id", "sharing_id", "version", "kind", "template", "format", "view_url", "edit_url")
    file = {"type": "png", "bytes": 3, "sha256": "ab" * 32, "source_url": "https://host.test/a", "delivery": "d"}
    listed = tuple(
        Listed(
            key=f"a/{n}.png",
            **{name: getattr(asset, name) for name in ours},
            **file,
            received_at=NOW,
            published_at=NOW,
            superseded=n == 1,
        )
        for n, asset in enumerate(assets)
    )
    status = TemplateStatus(Template("t1", "New name"), "APPROVED", NOW)
    for contents in (listed, listed[:1], ()):
        valid.validate(json.loads(manifest.folder_manifest(FolderContents("a", 1, 0, contents, status))))


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("index", lambda said: said.update(version=2)),
        ("index", lambda said: said["totals"].pop("bytes")),
        ("index", lambda said: said["folders"][0].update(path="/absolute")),
        ("index", lambda said: said["exports"][0].update(files=[])),
        ("folder", lambda said: said["assets"][0].pop("sha256")),
        ("folder", lambda said: said["assets"][0].update(bytes=-1)),
        ("folder", lambda said: said["assets"][0].update(kind="export")),
        ("folder", lambda said: said.pop("template")),
        ("export", lambda said: said["files"][0].update(sha256="AB")),
        ("export", lambda said: said.update(published_at=NOW)),
    ],
)
def test_a_manifest_that_lacks_something_is_not_valid(manifests, valid, kind, spoil):
    spoil(manifests[kind])
    assert not valid.is_valid(manifests[kind])
