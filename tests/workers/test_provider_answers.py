"""workers.provider: whatever answers at the provider's address, a worker spends only so much on it."""

import gzip
import ssl
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import pytest

from workers.provider import MAX_ANSWER_BYTES, HttpProvider, OutcomeUnknown

LONG = b'{"key": "%s"}' % (b"a" * 50 * MAX_ANSWER_BYTES)


class Somebody(BaseHTTPRequestHandler):
    """Answers everything in the same way."""

    body: ClassVar[bytes]
    encoding: ClassVar[str]

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-encoding", self.encoding)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Somebody)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_an_answer_without_an_end_is_none_and_takes_no_memory(encoding: str, address: str) -> None:
    Somebody.encoding, Somebody.body = encoding, gzip.compress(LONG) if encoding == "gzip" else LONG
    provider = HttpProvider(address, "secret", 5.0)
    tracemalloc.start()
    with pytest.raises(OutcomeUnknown):
        provider.find("key")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < len(LONG)


def test_certificates_are_read_once_and_not_for_each_request(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Somebody.encoding, Somebody.body = "identity", b""
    read, load = [], ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, *arguments: Any, **more: Any) -> None:
        read.append(context)
        load(context, *arguments, **more)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    for _ in range(3):
        with pytest.raises(OutcomeUnknown):
            HttpProvider(address, "secret", 5.0).find("key")
    assert len(read) <= 1
