import hashlib
import json
import subprocess
from dataclasses import replace

import pytest

from syncd.mirror import manifest
from syncd.model import (
    Asset,
    ExportContents,
    ExportFile,
    FolderContents,
    FolderLine,
    Format,
    Listed,
    Template,
    TemplateStatus,
)

FOLDER = "Spring sale/medium-rectangle"
BANNER = Asset(
    source="abyssale",
    kind="file",
    id="3c9d2f10",
    url="https://h.test/a.png?X-Amz=1",
    type="png",
    sharing_id="a80f6c3e",
    version=2,
    filename="a.png",
    template=Template("d1e2", "Spring sale"),
    format=Format("medium-rectangle", 300.0, 250.5, "px"),
    view_url="https://app.test/view/1",
)
BARE = Asset("abyssale", "file", "4d0e", "https://h.test/b.jpeg")
APPROVED = TemplateStatus(Template("d1e2", "Spring sale"), "APPROVED", 1_789_000_000)


def listed(asset=BANNER, key=f"{FOLDER}/a.png", **fields):
    said = {
        "type": "png",
        "bytes": 7,
        "sha256": "ab" * 32,
        "source_url": "https://h.test/a.png",
        "received_at": 1_790_000_000.0,
        "published_at": 1_790_000_001.25,
        "delivery": "d-1",
        "superseded": False,
    }
    ours = ("id", "sharing_id", "version", "kind", "template", "format", "view_url", "edit_url")
    return Listed(key=key, **{name: getattr(asset, name) for name in ours}, **{**said, **fields})


OLDER = listed(replace(BANNER, version=1), f"{FOLDER}/a.v1.png", bytes=5, superseded=True)


def folder(*files, status=None, sequence=0):
    return FolderContents(FOLDER, change=3, sequence=sequence, listed=files, status=status)


def export(*files, key="_exports/2026-11-21_0b7e", archive_key=None):
    return ExportContents(
        row=1,
        key=key,
        asset=replace(BARE, kind="export", id="0b7e", requested_at=1_789_999_900, generated_at=1_789_999_984.5),
        bytes=sum(file.bytes for file in files),
        sha256="cd" * 32,
        source_url="https://h.test/x.zip",
        files=files,
        archive_key=archive_key,
        received_at=1_790_000_000.0,
        published_at=1_790_000_009.0,
        delivery="d-2",
    )


EXPORT = export(
    ExportFile("a.png", 3, "aa"), ExportFile("b/c.png", 4, "bb"), archive_key="_exports/2026-11-21_0b7e.zip"
)


def said(content):
    return json.loads(content)


def test_a_folders_manifest_says_all_that_is_known_of_its_files():
    assert said(manifest.folder_manifest(folder(listed(), status=APPROVED, sequence=6))) == {
        "version": 1,
        "sequence": 7,
        "template": {
            "id": "d1e2",
            "name": "Spring sale",
            "status": "APPROVED",
            "status_updated_at": "2026-09-10T00:26:40.000Z",
        },
        "format": {"id": "medium-rectangle", "width": 300, "height": 250.5, "unit": "px"},
        "assets": [
            {
                "path": "Spring sale/medium-rectangle/a.png",
                "id": "3c9d2f10",
                "sharing_id": "a80f6c3e",
                "version": 2,
                "kind": "file",
                "type": "png",
                "bytes": 7,
                "sha256": "ab" * 32,
                "width": 300,
                "height": 250.5,
                "source_url": "https://h.test/a.png",
                "received_at": "2026-09-21T14:13:20.000Z",
                "published_at": "2026-09-21T14:13:21.250Z",
                "view_url": "https://app.test/view/1",
                "edit_url": None,
                "delivery": "d-1",
            }
        ],
    }


def test_what_is_not_known_is_null():
    content = said(manifest.folder_manifest(folder(listed(BARE))))
    assert content["template"] == {"id": None, "name": None, "status": None, "status_updated_at": None}
    assert content["format"] == {"id": None, "width": None, "height": None, "unit": None}
    (file,) = content["assets"]
    unknown = {"sharing_id", "version", "width", "height", "view_url", "edit_url"}
    assert {name for name, value in file.items() if value is None} == unknown


def test_whole_numbers_have_no_decimal_point():
    content = manifest.folder_manifest(folder(listed()))
    assert b'"width": 300,' in content
    assert b'"height": 250.5,' in content


def test_a_kept_older_version_is_marked_and_keeps_its_place():
    content = said(manifest.folder_manifest(folder(listed(), OLDER)))
    assert [file.get("superseded") for file in content["assets"]] == [None, True]
    assert [file["path"] for file in content["assets"]] == [f"{FOLDER}/a.png", f"{FOLDER}/a.v1.png"]


def test_an_html5_visual_says_that_it_is_one():
    assert manifest.entry(listed(replace(BANNER, kind="html5")))["kind"] == "html5"


@pytest.mark.parametrize(
    "other",
    [replace(BANNER, template=Template("f3a4", "Spring sale")), replace(BANNER, template=Template("", "Summer"))],
)
def test_what_files_do_not_share_is_null(other):
    content = said(manifest.folder_manifest(folder(listed(), listed(other), status=APPROVED)))
    assert content["template"] is None
    assert content["format"] is not None


def test_templates_without_ids_are_told_apart_by_their_names():
    files = [listed(replace(BANNER, template=Template("", name))) for name in ("Spring", "Summer")]
    assert said(manifest.folder_manifest(folder(*files)))["template"] is None
    assert said(manifest.folder_manifest(folder(files[0], files[0])))["template"]["name"] == "Spring"


def test_formats_that_differ_are_null():
    files = [listed(), listed(replace(BANNER, format=Format("leaderboard")))]
    assert said(manifest.folder_manifest(folder(*files)))["format"] is None


def test_a_renamed_template_has_the_name_of_the_newest_file():
    renamed = listed(replace(BANNER, template=Template("d1e2", "Summer sale")), received_at=1_790_000_100.0)
    for files in ((listed(), renamed), (renamed, listed())):
        assert said(manifest.folder_manifest(folder(*files)))["template"]["name"] == "Summer sale"


def test_an_emptied_folder_has_a_manifest_without_files():
    content = said(manifest.folder_manifest(folder(sequence=4)))
    assert content == {"version": 1, "sequence": 5, "template": None, "format": None, "assets": []}
    assert manifest.line_of(folder()) == FolderLine(FOLDER, Template(), "", 0, 0, 1)


def test_the_line_of_a_folder_leaves_out_superseded_versions():
    line = manifest.line_of(folder(listed(), OLDER, listed(BANNER, f"{FOLDER}/b.png", bytes=11), sequence=2))
    assert line == FolderLine(FOLDER, Template("d1e2", "Spring sale"), "medium-rectangle", 2, 18, 3)


def test_the_line_of_a_folder_names_the_template_as_its_status_does():
    renamed = replace(APPROVED, template=Template("d1e2", "Autumn sale"))
    content = folder(listed(), status=renamed)
    assert manifest.line_of(content).template.name == "Autumn sale"
    assert said(manifest.folder_manifest(content))["template"]["name"] == "Autumn sale"


def test_an_exports_manifest_lists_its_files_below_the_root():
    content = said(manifest.export_manifest(EXPORT))
    assert content["version"] == 1
    assert content["archive"] == "_exports/2026-11-21_0b7e.zip"
    assert content["files"] == [
        {"path": "_exports/2026-11-21_0b7e/a.png", "bytes": 3, "sha256": "aa"},
        {"path": "_exports/2026-11-21_0b7e/b/c.png", "bytes": 4, "sha256": "bb"},
    ]
    assert {**content, **manifest.export_line(EXPORT), "files": content["files"]} == content


def test_an_export_that_is_one_plain_file_is_its_only_entry():
    alone = export(ExportFile("", 3, "aa"), key="_exports/2026-11-21_0b7e.pdf")
    content = said(manifest.export_manifest(alone))
    assert content["path"] == "_exports/2026-11-21_0b7e.pdf"
    assert content["manifest"] == "_exports/2026-11-21_0b7e.json"
    assert content["files"] == [{"path": "_exports/2026-11-21_0b7e.pdf", "bytes": 3, "sha256": "aa"}]


def test_every_manifest_ends_with_a_newline_and_is_utf_8():
    accented = listed(BANNER, f"{FOLDER}/été.png")
    for content in (
        manifest.folder_manifest(folder(accented)),
        manifest.export_manifest(EXPORT),
    ):
        assert content.endswith(b"}\n")
    assert "été.png".encode() in manifest.folder_manifest(folder(accented))


def checked(where, checksums):
    """What sha256sum says of a list of checksums, in the folder it is meant for."""
    (where / "SHA256SUMS").write_bytes(checksums)
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"],
        cwd=where,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, sorted(done.stdout.splitlines())


def test_sha256sum_accepts_the_checksums_of_a_folder(tmp_path):
    names = ["a.png", "a b.png", "été*.png", "-rf", "#1.png"]
    for name in names:
        (tmp_path / name).write_text(name)
    files = [listed(BANNER, f"{FOLDER}/{name}", sha256=hashlib.sha256(name.encode()).hexdigest()) for name in names]
    assert checked(tmp_path, manifest.folder_checksums(folder(*files))) == (0, sorted(f"{name}: OK" for name in names))
    (tmp_path / "a.png").write_text("changed")
    assert checked(tmp_path, manifest.folder_checksums(folder(*files)))[0] == 1


@pytest.mark.parametrize(("key", "names"), [("_exports/e1", ["a.png", "b/c d.png"]), ("_exports/e1.pdf", [""])])
def test_sha256sum_accepts_the_checksums_of_an_export_beside_it(tmp_path, key, names):
    files = []
    for name in names:
        path = tmp_path / key.removeprefix("_exports/") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
        files.append(ExportFile(name, 7, hashlib.sha256(b"content").hexdigest()))
    code, lines = checked(tmp_path, manifest.export_checksums(export(*files, key=key)))
    assert code == 0
    assert len(lines) == len(names)


def test_all_manifests_as_one_have_a_row_for_every_file():
    rows = list(manifest.flat([folder(listed(), OLDER)], [EXPORT]))
    assert [(row["path"], row["superseded"], row["export_id"]) for row in rows] == [
        (f"{FOLDER}/a.png", False, None),
        (f"{FOLDER}/a.v1.png", True, None),
        ("_exports/2026-11-21_0b7e/a.png", False, "0b7e"),
        ("_exports/2026-11-21_0b7e/b/c.png", False, "0b7e"),
    ]
    assert (rows[0]["template_id"], rows[0]["template"], rows[0]["format"]) == (
        "d1e2",
        "Spring sale",
        "medium-rectangle",
    )
