from __future__ import annotations

import pytest

from valmon_pipeline.beacon.redact import redact_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://localhost:5052", "http://localhost:5052"),
        ("https://user:secret@node.example/", "https://node.example"),
        ("https://node.example/secret/", "https://node.example/…"),
        ("https://node.example?key=secret#secret", "https://node.example/…"),
        ("http://u:secret@[::1]:5052", "http://[::1]:5052"),
        ("secret", "<unreadable address>"),
        ("http://node:secret", "<unreadable address>"),
        ("http://[secret", "<unreadable address>"),
    ],
)
def test_secrets_are_left_out(url: str, shown: str) -> None:
    assert redact_url(url) == shown
