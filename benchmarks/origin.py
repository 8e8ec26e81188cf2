"""nginx on loopback: where files are fetched from, and the limit of what any server could answer."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contest import BenchmarkError, until
from benchmarks.processes import serving
from syncd.demo.ports import free_port

_CONFIG = """\
daemon off;
user {user};
worker_processes 2;
pid {folder}/pid;
error_log {folder}/errors;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 10000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  types {{ image/jpeg jpeg; image/png png; image/webp webp; image/gif gif; video/mp4 mp4; application/zip zip; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ root {root}; }}
    location = /return-200 {{ return 200; }}
  }}
}}
"""


def until_open(port: int) -> None:
    """Wait until somebody listens."""

    def is_open() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(is_open, f"somebody listens on port {port}", within=10)


@contextmanager
def nginx(folder: Path, root: Path) -> Iterator[int]:
    """Serve the files below `root`; gives the port. `folder` takes nginx's own files."""
    folder.mkdir(parents=True, exist_ok=True)
    port, config = free_port(), folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, root=root, port=port, user=_owner(root)))
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    with serving((binary, "-c", config, "-e", folder / "errors"), log=folder / "log") as process:
        until_open(port)
        if process.poll() is not None:
            raise BenchmarkError(f"nginx ended: {(folder / 'log').read_text()[-400:]}")
        yield port


def _owner(root: Path) -> str:
    """Who may read the files, for nginx' workers: they are made by whoever runs this."""
    return root.owner() if root.exists() else "root"
