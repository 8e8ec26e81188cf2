"""The house rule: imports point downward only, rooms on one floor don't meet, and there are no circles."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "syncd"

# From the top floor down. Rooms of one floor don't import each other.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"demo"},
    {"daemon"},
    {"insight", "listeners"},
    {"intake", "pipeline", "audit"},
    {"observe", "live"},
    {"sources", "mirror", "journal", "store", "web"},
    {"config", "barrier", "door", "owner", "supervisor"},
    {"model", "errors", "beat", "courier"},
    {""},  # syncd itself: its version
]
PURE = ("sources", "mirror.naming", "mirror.portable", "mirror.plan", "mirror.manifest", "mirror.content")
ASKING = {f"sources.abyssale_{file}" for file in ("answers", "api", "session")} | {
    "sources.abstract_api",
    "sources.abstract_ask",
    "sources.api",
}  # the platforms' APIs; the rest of the sources is pure
IMPURE = {"asyncio", "aiohttp", "aiofiles", "sqlite3", "socket", "random", "time", "os", "logging", "tempfile"}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def imports(path, package):
    """Every module that a file imports, relative ones resolved."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor_of(room):
    for floor, rooms in enumerate(FLOORS):
        if room in rooms:
            return floor
    raise AssertionError(f"syncd/{room} stands on no floor: say in this test and docs/design.md where it belongs")


def test_imports_point_downward_only():
    wrong = set()
    for module, path in modules():
        room = module.partition(".")[0]
        for name in imports(path, module):
            if name != "syncd" and not name.startswith("syncd."):
                continue
            other = name.removeprefix("syncd").removeprefix(".").partition(".")[0]
            if not (PACKAGE / other).exists() and not (PACKAGE / f"{other}.py").exists():
                other = ""  # a name out of syncd/__init__.py
            if other != room and floor_of(other) <= floor_of(room):
                wrong.add(f"syncd/{room} imports {name}")
    assert not wrong


def test_there_are_no_circles():
    known = dict(modules())
    edges = {
        module: {
            name.removeprefix("syncd.")
            for name in imports(path, module)
            if name.removeprefix("syncd.") in known and name.removeprefix("syncd.") != module
        }
        for module, path in known.items()
    }
    while edges:
        leaves = {module for module, targets in edges.items() if not targets & edges.keys()}
        assert leaves, f"a circle among {sorted(edges)}"
        edges = {module: targets for module, targets in edges.items() if module not in leaves}


def test_what_must_be_pure_asks_nobody():
    wrong = {
        f"{module} imports {name}"
        for module, path in modules()
        if module.startswith(PURE) and module not in ASKING
        for name in imports(path, module)
        if name.partition(".")[0] in IMPURE
    }
    assert not wrong
