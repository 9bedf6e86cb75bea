"""Archives of beacon node answers: one JSON object per line, zstd-compressed.

The same format holds the recorded devnet, fixtures and the answers of one's own node. A line has
the fields of :class:`Exchange`. Bodies stay the JSON text that the node sent (without white space
between tokens), so no number is ever rounded on its way through an archive; bytes that are no text
(SSZ) are kept in base64.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol, Self
from urllib.parse import urlencode

import msgspec
import zstandard

from valmon_pipeline.errors import ValmonError

_READ_SIZE: Final = 1 << 20
BASE64_PREFIX: Final = "data:application/octet-stream;base64,"
"""Starts a body that is kept as a ``data`` URL (RFC 2397), whatever its content type."""
_KEPT_HEADERS: Final = frozenset(
    {
        "content-type",
        "retry-after",
        "eth-consensus-version",
        "eth-consensus-finalized",
        "eth-execution-optimistic",
    }
)


class ArchiveError(ValmonError):
    """An archive cannot be read or written; the message names the file and the line."""


class RequestKey(NamedTuple):
    """What makes two requests the same: equal keys get equal answers from an archive."""

    method: str
    path: str
    query: str
    body: bytes


class Exchange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request and the node's final answer to it.

    ``t`` is the time of the answer in Unix seconds, ``ms`` how long it took. ``phase`` says when
    it was asked: ``final`` after finality, ``live``, ``slot`` and ``head`` while it was current,
    ``static`` for what never changes. ``query`` is a mapping of names to one or several values,
    or, with ``query_is_raw``, the query string byte for byte. ``node`` is the node's address
    without secrets, where several were asked.

    ``body`` and ``request_body`` hold JSON text: an object or array is the body itself, a string
    is a body that was not JSON (verbatim), ``null`` is an empty one. Bytes that are no text (SSZ)
    are a string that starts with :data:`BASE64_PREFIX`. Use :attr:`content` and
    :attr:`request_content` for the bytes on the wire.
    """

    method: str
    path: str
    status: int
    body: msgspec.Raw = msgspec.Raw(b"null")
    query: dict[str, str | list[str]] | str | None = None
    query_is_raw: bool = False
    request_body: msgspec.Raw = msgspec.Raw(b"null")
    request_headers: dict[str, str] | None = None
    headers: dict[str, str] = {}
    phase: str = "live"
    t: float = 0.0
    ms: float | None = None
    node: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def content(self) -> bytes:
        """The answer's body as sent."""
        return _wire_bytes(self.body)

    @property
    def request_content(self) -> bytes:
        """The request's body as sent."""
        return _wire_bytes(self.request_body)

    @property
    def query_string(self) -> str:
        """The query as it stands in the URL, without the question mark."""
        if self.query is None:
            return ""
        if isinstance(self.query, str):
            return self.query
        return urlencode(self.query, doseq=True)

    @property
    def response_headers(self) -> dict[str, str]:
        """The answer's headers that still hold for :attr:`content` (no lengths or encodings)."""
        return kept_headers(self.headers)

    @property
    def key(self) -> RequestKey:
        """The request as an archive looks it up."""
        return request_key(self.method, self.path, self.query_string, self.request_content)


def request_key(method: str, path: str, query: str = "", body: bytes = b"") -> RequestKey:
    """Return the key of a request: parameters in any order and JSON white space do not matter.

    The query is compared as it is encoded, because nodes treat ``3,5`` and ``3%2C5`` differently.
    """
    return RequestKey(
        method.upper(), path, "&".join(sorted(filter(None, query.split("&")))), _compact(body)
    )


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the answer's headers worth keeping, names in lower case; never cookies."""
    return {name.lower(): value for name, value in headers.items() if name.lower() in _KEPT_HEADERS}


def body_as_json(content: bytes) -> msgspec.Raw:
    """Return how a body is written in an archive; see :class:`Exchange`."""
    if not content:
        return msgspec.Raw(b"null")
    compact = _compact(content)
    if compact[:1] in (b"{", b"["):
        try:
            msgspec.json.decode(compact, type=msgspec.Raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # truncated or garbled: kept as text, so that a replay is as broken as the node
        else:
            return msgspec.Raw(compact)
    return msgspec.Raw(msgspec.json.encode(_text(content)))


def read_exchanges(path: Path) -> Iterator[Exchange]:
    """Yield the exchanges of an archive in the order they were written.

    An incomplete last line, left by a writer that died, is skipped. Raises :class:`ArchiveError`
    naming the file and the line when anything else is wrong.
    """
    try:
        with path.open("rb") as file:
            yield from read_exchanges_of(file, str(path))
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read: {error.strerror}") from error


def read_exchanges_of(file: IO[bytes], name: str) -> Iterator[Exchange]:
    """Yield the exchanges of an open archive, see :func:`read_exchanges`; errors name ``name``."""
    decoder = msgspec.json.Decoder(Exchange)
    for number, line in enumerate(_complete_lines(file, name), start=1):
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArchiveError(
                f"{name}, line {number}: not an exchange of a beacon node ({error}). "
                "Is it a recording (.jsonl.zst)?"
            ) from error


class ExchangeSink(Protocol):
    """Whatever takes the exchanges of a client."""

    def append(self, exchange: Exchange) -> None:
        """Take one exchange."""


class ArchiveWriter:
    """Appends exchanges to an archive; what was appended survives a crash of the process.

    The writer holds a lock on the file: a second writer gets an :class:`ArchiveError`. The
    incomplete end that a crashed writer left is repaired when the file is opened.
    """

    def __init__(self, path: Path, *, level: int = 9) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(path)
            try:
                _repair(path, level)
                self._file: IO[bytes] = path.open("ab")
            except BaseException:
                self._lock.close()
                raise
        except OSError as error:
            raise ArchiveError(f"{path}: cannot be written: {error.strerror}") from error
        self._frame = zstandard.ZstdCompressor(level=level).compressobj()

    def append(self, exchange: Exchange) -> None:
        """Write one exchange; it is readable as soon as this returns."""
        line = msgspec.json.encode(exchange) + b"\n"
        try:
            self._file.write(self._frame.compress(line))
            self._file.write(self._frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
            self._file.flush()
        except OSError as error:
            raise ArchiveError(f"{self.path}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """End the file properly and release it; closing twice is harmless."""
        if self._file.closed:
            return
        try:
            with self._file:
                self._file.write(self._frame.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH))
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as error:
            raise ArchiveError(f"{self.path}: cannot be written: {error.strerror}") from error
        finally:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _complete_lines(file: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield the lines of a zstd file that end with a newline."""
    try:
        with zstandard.ZstdDecompressor().stream_reader(
            file, read_across_frames=True, closefd=False
        ) as reader:
            unfinished: list[bytes] = []
            while chunk := reader.read(_READ_SIZE):
                first, *more = chunk.split(b"\n")
                unfinished.append(first)
                if more:
                    yield b"".join(unfinished)
                    yield from more[:-1]
                    unfinished = more[-1:]
    except zstandard.ZstdError as error:
        raise ArchiveError(
            f"{name}: not a zstd archive, or damaged: {error}. Restore it from where it came."
        ) from error


def _locked(path: Path) -> IO[bytes]:
    """Return the lock file beside ``path``, locked for this process."""
    lock = path.with_name(path.name + ".lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ArchiveError(
            f"{path}: another process is writing this archive; give each its own file"
        ) from error
    return lock


def _repair(path: Path, level: int) -> None:
    """Drop an incomplete end: nothing can be appended after half a zstd frame."""
    if not path.exists() or _ends_with_a_complete_frame(path):
        return
    repaired = path.with_name(path.name + ".repaired")
    with (
        path.open("rb") as damaged,
        repaired.open("wb") as file,
        zstandard.ZstdCompressor(level=level).stream_writer(file, closefd=False) as writer,
    ):
        for line in _complete_lines(damaged, str(path)):
            writer.write(line + b"\n")
    repaired.replace(path)


def _ends_with_a_complete_frame(path: Path) -> bool:
    frame: Any = None
    with path.open("rb") as file:
        while data := file.read(_READ_SIZE):
            while data:
                if frame is None or frame.eof:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                try:
                    frame.decompress(data)
                except zstandard.ZstdError:
                    return False
                data = frame.unused_data
    return frame is None or bool(frame.eof)


def _compact(content: bytes) -> bytes:
    """Return JSON without white space between tokens; anything else as it is."""
    try:
        return msgspec.json.format(content, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return content


def _wire_bytes(body: msgspec.Raw) -> bytes:
    content = bytes(body)
    if content[:1] != b'"':
        return b"" if content == b"null" else content
    text = msgspec.json.decode(content, type=str)
    if not text.startswith(BASE64_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(BASE64_PREFIX), validate=True)
    except binascii.Error as error:
        raise ArchiveError(
            f"a body of the archive is not base64 ({error}): {text[:80]}. Restore the archive from "
            "where it came."
        ) from error


def _text(content: bytes) -> str:
    """A body that is not JSON as text: as it is, or in base64 if it is none."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        if not text.startswith(BASE64_PREFIX):
            return text
    return BASE64_PREFIX + base64.b64encode(content).decode("ascii")
