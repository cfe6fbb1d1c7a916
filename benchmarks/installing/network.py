"""What stands between an installer and the package index: a proxy that counts bytes, and cuts the connection before too
many have come; and an index of one's own, with one package."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHUNK_BYTES = 65_536


class CountingProxy:
    """Passes HTTPS on (CONNECT), in threads. Nobody waits for more than `limit_bytes` of what comes back."""

    def __init__(self, limit_bytes: int):
        self.limit_bytes, self.received = limit_bytes, 0
        self._lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def start_over(self) -> None:
        with self._lock:
            self.received = 0

    @property
    def is_over(self) -> bool:
        return self.received > self.limit_bytes

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError, ValueError, IndexError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(CHUNK_BYTES) or b"\r\n\r\n"
            method, target, _ = head.split(b"\r\n")[0].decode().split(" ", 2)
            if method != "CONNECT" or self.is_over:
                client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                return
            host, _, port = target.rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port)), 30.0) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
                self._pass(server, client, True)

    def _pass(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                if counts:
                    with self._lock:
                        self.received += len(data)
                    if self.is_over:
                        break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def index_with(wheel: Path, folder: Path) -> Iterator[str]:
    """The address of a package index that has this wheel and nothing else; its pages are made in `folder`."""
    place = folder / "simple" / wheel.name.split("-")[0].replace("_", "-")
    place.mkdir(parents=True)
    (place / wheel.name).symlink_to(wheel)

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple/"
    finally:
        server.shutdown()
