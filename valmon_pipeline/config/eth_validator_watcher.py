"""Reading a configuration file of Kiln's eth-validator-watcher as it is.

Such a file is recognised by ``watched_keys``. Its addresses and timeouts have other names here;
what has no counterpart (web3signer, Slack, relays …) is left out without complaint.
"""

from __future__ import annotations

from valmon_pipeline.config.mistakes import KeyPath
from valmon_pipeline.config.yaml_file import Document

RENAMED: dict[str, KeyPath] = {
    "beacon_url": ("beacon_node_url",),
    "beacon_timeout_sec": ("http", "timeout_seconds"),
}
IGNORED = frozenset(
    {
        "beacon_type",
        "default_fee_recipient",
        "execution_url",
        "liveness_file",
        "metrics_port",
        "relays",
        "replay_end_at_ts",
        "replay_start_at_ts",
        "slack_channel",
        "slack_token",
        "start_at",
        "web3signer_url",
    }
)


def translate(document: Document) -> None:
    """Rename and drop the keys of an eth-validator-watcher file in place; other files stay."""
    if "watched_keys" not in document.data:
        return
    for name in IGNORED:
        document.data.pop(name, None)
    for name, path in RENAMED.items():
        if name not in document.data:
            continue
        *sections, key = (str(part) for part in path)
        parent = document.data
        for section in sections:
            parent = parent.setdefault(section, {})
        if not isinstance(parent, dict) or key in parent:
            continue  # the file has both names: the foreign one is then reported as unknown
        parent[key] = document.data.pop(name)
        document.places[path] = document.places[name,]
