"""Has systemd judge the unit files, with a command that exists standing in for the installed one."""

import subprocess
import sys
import tempfile
from pathlib import Path

UNITS = Path(__file__).parent.parent / "systemd"
INSTALLED = "/opt/syncd/bin/syncd"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        units = []
        for unit in sorted(UNITS.iterdir()):
            if unit.suffix in {".service", ".socket"}:
                copy = Path(folder) / unit.name
                copy.write_text(unit.read_text().replace(INSTALLED, sys.executable))
                units.append(str(copy))
        judged = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
        complaints = judged.stdout + judged.stderr
        assert judged.returncode == 0, complaints
        assert folder not in complaints, complaints  # what it says of the machine's own units is not ours to mend
    sys.stdout.write(f"systemd-analyze verify: {len(units)} units are well\n")


if __name__ == "__main__":
    main()
