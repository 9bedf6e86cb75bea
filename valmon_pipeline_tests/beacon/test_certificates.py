"""A node behind TLS whose certificate an authority of one's own signed."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

OPENSSL = shutil.which("openssl")
ASK = """
import asyncio, sys
from valmon_pipeline.beacon.client import BeaconClient, NodeOptions
from valmon_pipeline.errors import BeaconApiError
async def main():
    async with BeaconClient.open(NodeOptions(sys.argv[1])) as client:
        print(await client.node_version())
try:
    asyncio.run(main())
except BeaconApiError as error:
    print(type(error).__name__, error)
"""
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl makes the certificate")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("authority")
    assert OPENSSL is not None
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["-keyout", "key.pem", "-out", "cert.pem", "-days", "9"]
    subprocess.run(
        [OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *made, *name],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    return directory / "cert.pem"


@pytest.fixture
def port(certificate: Path) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"data":{"version":"Node/v1"}}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the test output clean."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A refused handshake is what is tested."""

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def said(url: str, **environment: str) -> str:
    """What a process of its own gets from the node: certificates are loaded once per process."""
    kept = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}
    done = subprocess.run(
        [sys.executable, "-c", ASK, url],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_certificate_that_is_not_trusted_says_what_to_set_after_one_attempt(port: int) -> None:
    message = said(f"https://localhost:{port}")
    assert message.startswith("BeaconUnreachableError GET /eth/v1/node/version")
    assert "is not trusted" in message
    assert "SSL_CERT_FILE" in message
    assert "attempts" not in message


def test_with_its_authority_the_node_is_read(port: int, certificate: Path) -> None:
    assert "Node/v1" in said(f"https://localhost:{port}", SSL_CERT_FILE=str(certificate))


def test_a_certificate_for_another_name_is_no_matter_of_authorities(
    port: int, certificate: Path
) -> None:
    message = said(f"https://127.0.0.1:{port}", SSL_CERT_FILE=str(certificate))
    assert "use that name in the node's address" in message
