from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.beacon.archive import (
    BASE64_PREFIX,
    ArchiveError,
    ArchiveWriter,
    Exchange,
    body_as_json,
    read_exchanges,
    request_key,
)


def exchange(number: int) -> Exchange:
    return Exchange(
        method="GET",
        path=f"/eth/v1/beacon/headers/{number}",
        status=200,
        body=body_as_json(b'{"data": {"root": "0x%d"}}' % number),
        t=float(number),
    )


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl.zst"


def write(archive: Path, *numbers: int) -> None:
    with ArchiveWriter(archive) as writer:
        for number in numbers:
            writer.append(exchange(number))


def read(archive: Path) -> list[Exchange]:
    return list(read_exchanges(archive))


def test_what_is_written_is_read_again(archive: Path) -> None:
    write(archive, 1, 2)
    write(archive, 3)
    assert read(archive) == [exchange(1), exchange(2), exchange(3)]


def test_an_exchange_is_readable_while_the_writer_is_still_open(archive: Path) -> None:
    with ArchiveWriter(archive) as writer:
        writer.append(exchange(1))
        assert read(archive) == [exchange(1)]


@pytest.mark.parametrize("lost", [1, 5, 20])
def test_a_crash_costs_at_most_the_last_line_and_writing_goes_on(archive: Path, lost: int) -> None:
    with ArchiveWriter(archive) as writer:
        writer.append(exchange(1))
        writer.append(exchange(2))
        crashed = archive.read_bytes()
    archive.write_bytes(crashed[:-lost])
    assert read(archive) == [exchange(1)]
    write(archive, 3)
    assert read(archive) == [exchange(1), exchange(3)]


def test_a_second_writer_is_refused(archive: Path) -> None:
    with ArchiveWriter(archive), pytest.raises(ArchiveError, match="another process"):
        ArchiveWriter(archive)
    write(archive, 1)


def test_a_missing_archive_is_named(archive: Path) -> None:
    with pytest.raises(ArchiveError, match=r"answers\.jsonl\.zst: cannot be read: No such file"):
        read(archive)


def test_a_file_that_is_no_archive_is_refused(archive: Path) -> None:
    archive.write_bytes(b"not compressed at all")
    with pytest.raises(ArchiveError, match="not a zstd archive"):
        read(archive)


def test_a_wrong_line_is_named(archive: Path) -> None:
    good = msgspec.json.encode(exchange(1))
    archive.write_bytes(zstandard.compress(good + b'\n{"method": "GET"}\n'))
    with pytest.raises(ArchiveError, match=r"line 2: .*missing required field `path`"):
        read(archive)


def test_lines_longer_than_the_read_buffer_stay_whole(archive: Path) -> None:
    long = Exchange(
        method="GET", path="/", status=200, body=msgspec.Raw(b'["%b"]' % (b"a" * 3_000_000))
    )
    with ArchiveWriter(archive) as writer:
        writer.append(long)
        writer.append(exchange(1))
    assert read(archive) == [long, exchange(1)]


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b'"text"', b"<html>", b'{"data": [', b'{"a":1}', b"[1.50,18446744073709551616]"],
)
def test_a_body_comes_back_as_it_was_sent(content: bytes) -> None:
    assert Exchange(method="GET", path="/", status=200, body=body_as_json(content)).content == (
        content
    )


@given(st.text())
def test_any_text_comes_back_as_it_was_sent(text: str) -> None:
    content = text.encode()
    stored = Exchange(method="GET", path="/", status=200, body=body_as_json(content))
    line = msgspec.json.encode(stored)
    assert b"\n" not in line
    restored = msgspec.json.decode(line, type=Exchange).content
    assert restored == content or msgspec.json.decode(restored) == msgspec.json.decode(content)


@given(st.binary())
def test_any_bytes_come_back_as_they_were_sent(content: bytes) -> None:
    stored = Exchange(method="GET", path="/", status=200, body=body_as_json(content))
    restored = msgspec.json.decode(msgspec.json.encode(stored), type=Exchange).content
    assert restored == content or msgspec.json.decode(restored) == msgspec.json.decode(content)


@pytest.mark.parametrize("content", [b"\xff\x00{", BASE64_PREFIX.encode() + b"e30="])
def test_bytes_that_are_no_text_are_kept_in_base64(content: bytes) -> None:
    text = msgspec.json.decode(body_as_json(content))
    assert text.startswith(BASE64_PREFIX)
    assert b64decode(text.removeprefix(BASE64_PREFIX)) == content
    assert Exchange(method="GET", path="/", status=200, body=body_as_json(content)).content == (
        content
    )


def test_base64_that_was_damaged_is_refused() -> None:
    damaged = Exchange(
        method="GET", path="/", status=200, body=msgspec.Raw(b'"%b=A"' % BASE64_PREFIX.encode())
    )
    with pytest.raises(ArchiveError, match="not base64"):
        assert damaged.content


def test_requests_are_equal_whatever_the_order_of_parameters_and_the_white_space() -> None:
    assert request_key("get", "/p", "id=2&id=1", b"") == request_key("GET", "/p", "id=1&id=2")
    assert request_key("POST", "/p", "", b'["1", "2"]') == request_key(
        "POST", "/p", "", b'["1","2"]'
    )
    assert request_key("GET", "/p", "id=3,5") != request_key("GET", "/p", "id=3%2C5")


def test_queries_of_both_forms_have_the_same_key() -> None:
    mapping = Exchange(method="GET", path="/p", status=200, query={"id": ["1", "2"], "a": "b"})
    raw = Exchange(method="GET", path="/p", status=200, query="a=b&id=1&id=2", query_is_raw=True)
    assert mapping.key == raw.key


def test_only_headers_that_matter_are_kept() -> None:
    stored = Exchange(
        method="GET",
        path="/",
        status=200,
        headers={"Set-Cookie": "secret", "Content-Length": "5", "Content-Type": "text/plain"},
    )
    assert stored.response_headers == {"content-type": "text/plain"}
