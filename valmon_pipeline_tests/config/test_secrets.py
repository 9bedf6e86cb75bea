"""Whatever is wrong, a secret is not printed."""

from __future__ import annotations

import pickle

import pytest
from pydantic import ValidationError

from valmon_pipeline.config import InvalidConfigurationError, SecretUrl, Settings
from valmon_pipeline_tests.config.conftest import Load

SECRET = "hunter2x"


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("http://localhost:5052", "http://localhost:5052"),
        ("http://user:hunter2x@node:5052/", "http://node:5052/"),
        ("https://node/hunter2x/eth", "https://node/…"),
        ("https://node?apikey=hunter2x", "https://node?…"),
        ("http://[::1]:5052", "http://[::1]:5052"),
        ("postgresql://user:hunter2x@db:5432/valmon", "postgresql://db:5432/valmon"),
        ("postgresql:///valmon?host=/run&password=hunter2x", "postgresql:///valmon?…"),
        ("postgresql://user:12@hunter2x@db/valmon", "postgresql://db/valmon"),
        ("postgresql://user:12/hunter2x@db/valmon", "…"),
        ("postgresql://user:12#hunter2x@db/valmon", "…"),
        ("http://user:hunter2x/3@node", "…"),
        ("hunter2x", "…"),
        ("http://[hunter2x", "…"),
    ],
)
def test_an_address_is_printed_without_credentials(url: str, printed: str) -> None:
    secret = SecretUrl(url)
    assert str(secret) == printed
    assert repr(secret) == f"SecretUrl('{printed}')"
    assert secret.reveal() == url
    assert pickle.loads(pickle.dumps(secret)) == secret


@pytest.mark.parametrize(
    "text",
    [
        "beacon_node_url: ftp://user:hunter2x@node",
        "beacon_node_url: user:hunter2x@node:5052",
        "beacon_node_url: [http://user:p/hunter2x@node]",
        "beacon_node_url: {url: 'http://user:hunter2x@node'}",
        "database: postgresql://user:hunter2x@db/valmon",
        "database: {url: 'mysql://user:hunter2x@db/valmon'}",
        "database: {url: 'postgresql://user:hunter2x#@db/valmon'}",
        "database: {dagster_url: 'mysql://user:hunter2x@db/valmon'}",
        "database: {dagster_url: 'hunter2x'}",
        "database: {url: 'host=db password=hunter2x user=valmon'}",
        "database: {password: hunter2x}",
        "database: {password: *hunter2x}",
        "database: {password: !hunter2x}",
        "database: {password: @hunter2x}",
        'database: {password: "\\hunter2x"}',
        "database: {password: 'hunter2x}",
        "database:\n\tpassword: hunter2x",
        "database: password: hunter2x",
        "api_token: hunter2x",
        "rate_limit: https://node/hunter2x",
        "worker_pool_size: https://node/hunter2x",
        "network: user:hunter2x@node",
        "validators: [one two three four five hunter2x]",
        "hunter2x",
        "- hunter2x",
        "? {hunter2x: 1}\n: 2",
    ],
)
def test_a_mistake_does_not_print_it(load: Load, text: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        load(text)
    assert SECRET not in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None and not error.__suppress_context__:
        error = error.__cause__ or error.__context__
        assert error is None or SECRET not in str(error)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VALMON_BEACON_URL", "user:hunter2x@node"),
        ("VALMON_BEACON_URL", "http://user:a@node,hunter2x"),
        ("VALMON_BEACON_URL", "hunter2x"),
        ("VALMON_BEACON_URL", '["http://user:hunter2x@node"'),
        ("VALMON_DATABASE_URL", "postgres//user:hunter2x@db"),
        ("VALMON_DATABASE__PASSWORD", "hunter2x"),
    ],
)
def test_nor_does_a_mistake_in_the_environment(load: Load, variable: str, value: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        load("", **{variable: value})
    assert SECRET not in str(caught.value)
    assert variable in str(caught.value)


def test_a_key_pasted_by_accident_is_not_printed(load: Load) -> None:
    for signing_key in ("0x" + "1a" * 32, "1a" * 32, "12" * 32):
        with pytest.raises(InvalidConfigurationError) as caught:
            load(f"validators: ['{signing_key}']")
        assert signing_key[:12] not in str(caught.value)


def test_settings_print_and_serialise_without_secrets(load: Load) -> None:
    settings = load(
        "beacon_node_url: http://user:hunter2x@node/\n"
        "database: {url: 'postgresql://user:hunter2x@db/valmon'}\n"
    )
    printed = (
        repr(settings),
        str(settings),
        settings.model_dump_json(),
        str(settings.model_dump()),
    )
    assert all(SECRET not in text for text in printed)
    assert settings.beacon_node_urls[0].reveal() == "http://user:hunter2x@node/"


def test_settings_made_in_code_do_not_print_them_either() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"database": {"url": "mysql://user:hunter2x@db"}})
    assert SECRET not in str(caught.value)
