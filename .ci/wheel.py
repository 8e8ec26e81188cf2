"""Builds the wheel, installs it where nothing else of the checkout is seen, and runs the command it brings."""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(*command: str, **kwargs: object) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, **kwargs).stdout  # type: ignore[call-overload]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, str(ROOT))
        (wheel,) = Path(folder).glob("*.whl")
        target = Path(folder) / "installed"
        run(sys.executable, "-m", "venv", str(target))
        python = target / "bin" / "python"
        quiet = ("--quiet", "--disable-pip-version-check")
        run(str(python), "-m", "pip", "install", *quiet, "--require-hashes", "-r", str(ROOT / "requirements.lock"))
        run(str(python), "-m", "pip", "install", *quiet, "--no-deps", str(wheel))
        syncd = str(target / "bin" / "syncd")
        version = run(syncd, "--version", cwd=folder).strip()
        run(syncd, "init", "here", cwd=folder)
        assert (Path(folder) / "here" / "config" / "sync.toml").is_file()
        run(syncd, "demo", cwd=folder)
        sys.stdout.write(f"{wheel.name} builds, installs and runs its demo: {version}\n")


if __name__ == "__main__":
    main()
