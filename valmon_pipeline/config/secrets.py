"""The secrets that a configuration holds, for taking them out of logs."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote, urlsplit

from valmon_pipeline.config.settings import Settings


def secrets_of(settings: Settings) -> frozenset[str]:
    """Every text in the configured addresses that must not be seen, as written and decoded.

    Of nodes and the dead man's switch these are login, path and query, where hosted ones take their
    tokens; of databases and the archive the passwords; of channels the whole address.
    """
    found = set()
    for url in (*settings.beacon_node_urls, settings.alerts.heartbeat.url):
        parts = {} if url is None else _parts(url.reveal())
        found |= {parts.get("login"), parts.get("password"), parts.get("path"), parts.get("query")}
    for stored in (settings.database.url, settings.database.dagster_url, settings.archive.url):
        if stored is not None:
            parts = _parts(stored.reveal())
            found.add(parts.get("password"))
            # libpq takes passwords in the query, too.
            named = parse_qsl(parts.get("query", ""))
            found |= {value for name, value in named if "password" in name.lower()}
    for channel in settings.alerts.channels:
        if channel.url is not None:
            found.add(channel.url.get_secret_value())
    return frozenset(text for secret in found if secret for text in (secret, unquote(secret)))


def _parts(url: str) -> dict[str, str]:
    return dict(_named_parts(url))


def _named_parts(url: str) -> Iterator[tuple[str, str]]:
    try:
        parts = urlsplit(url)
    except ValueError:
        yield "password", url
        return
    if parts.username:
        yield "login", parts.netloc.rpartition("@")[0]
    if parts.password:
        yield "password", parts.password
    if parts.path.strip("/"):
        yield "path", parts.path.strip("/")
    if parts.query:
        yield "query", parts.query
