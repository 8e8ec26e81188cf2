"""Has the tools they are made for judge what is shipped for an administrator: units, user, folders, proxy config.

A command that exists stands in for the installed one. nginx and Caddy are asked where they are at hand.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
UNITS = ROOT / "systemd"
INSTALLED = "/opt/syncd/bin/syncd"
MOST_EXPOSED = 1.3
NGINX = """
pid {0}/pid; error_log stderr; events {{}}
http {{
    access_log off; include {1};
    client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};
}}
"""


def judge(*command: str) -> str:
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    said = judged.stdout + judged.stderr
    assert judged.returncode == 0, said
    return said


def verify_units(folder: str) -> None:
    units = []
    for unit in sorted(UNITS.iterdir()):
        if unit.suffix in {".service", ".socket"}:
            copy = Path(folder) / unit.name
            copy.write_text(unit.read_text().replace(INSTALLED, sys.executable))
            units.append(str(copy))
    complaints = judge("systemd-analyze", "verify", *units)
    assert folder not in complaints, complaints  # what it says of the machine's own units is not ours to mend
    sys.stdout.write(f"systemd-analyze verify: {len(units)} units are well\n")


def measure_exposure() -> None:
    said = judge("systemd-analyze", "security", "--offline=true", str(UNITS / "syncd.service"))
    exposure = float(re.search(r"syncd\.service: ([0-9.]+)", said)[1])
    assert exposure <= MOST_EXPOSED, said
    sys.stdout.write(f"systemd-analyze security: {exposure}\n")


def make_user_and_folders(folder: str) -> None:
    """In a root of their own."""
    etc = Path(folder) / "etc"
    etc.mkdir()
    judge("systemd-sysusers", f"--root={folder}", str(UNITS / "sysusers.d/syncd.conf"))
    assert "\nsyncd:" in "\n" + (etc / "passwd").read_text()


def check_nginx(folder: str) -> None:
    if nginx := shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin"):
        main = Path(folder) / "main.conf"
        main.write_text(NGINX.format(folder, ROOT / "docs/examples/nginx.conf"))
        judge(nginx, "-t", "-q", "-c", str(main))
        sys.stdout.write("nginx takes docs/examples/nginx.conf\n")


def check_caddy() -> None:
    if caddy := shutil.which("caddy"):
        judge(caddy, "validate", "--adapter", "caddyfile", "--config", str(ROOT / "docs/examples/Caddyfile"))
        sys.stdout.write("Caddy takes docs/examples/Caddyfile\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        verify_units(folder)
        measure_exposure()
        check_nginx(folder)
        check_caddy()
        make_user_and_folders(folder)


if __name__ == "__main__":
    main()
