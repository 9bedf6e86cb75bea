"""Which configuration holds, and where this installation keeps its state."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from valmon_pipeline.config import SecretUrl, Settings, find_config_file, load_settings
from valmon_pipeline.errors import ConfigurationError

DEMO_CONFIGURATION: Final = Path(__file__).with_name("demo.yaml")


@dataclass(frozen=True, slots=True)
class Installation:
    """The settings in force and the directories under ``home``.

    ``demo``: nothing is configured, neither a node nor a validator to watch; then valmon shows
    itself on the recorded devnet.
    """

    settings: Settings
    config_file: Path | None
    demo: bool

    @classmethod
    def load(
        cls, config: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Installation:
        """Read the configuration, or the demo's if there is nothing configured.

        Raises:
            ConfigurationError: the configuration is wrong, or names validators but no node.
        """
        environ = os.environ if environ is None else environ
        file = find_config_file(config, environ)
        settings = load_settings(config, environ)
        demo = not settings.nodes and settings.watch_list.is_empty
        if demo:
            file = DEMO_CONFIGURATION
            settings = load_settings(file, environ)
        return cls(settings, file.absolute() if file else None, demo)

    def with_node(self, url: str) -> Installation:
        """The same with a node: the demo's replay node once its address is known."""
        settings = self.settings.with_node(SecretUrl(url))
        return replace(self, settings=settings)

    @property
    def home(self) -> Path:
        """The directory of all state."""
        return self.settings.home

    @property
    def dagster_home(self) -> Path:
        """DAGSTER_HOME."""
        return self.home / "dagster"

    @property
    def logs(self) -> Path:
        """A log per process."""
        return self.home / "logs"

    @property
    def state_file(self) -> Path:
        """What ``valmon up`` tells other commands while it runs: its process id and addresses."""
        return self.home / "up.json"

    def require_node(self) -> None:
        """Refuse to go on without a node to ask or a validator to ask about.

        Raises:
            ConfigurationError: names what is missing.
        """
        if not self.settings.nodes:
            raise ConfigurationError(
                "validators are configured but no beacon node: set beacon_node_url in "
                f"{self.config_file or 'valmon.yaml'} or VALMON_BEACON_URL, e.g. http://localhost:5052"
            )
        if self.settings.watch_list.is_empty:
            raise ConfigurationError(
                "a beacon node is configured but nobody to watch: list validators in "
                f"{self.config_file or 'valmon.yaml'}, or set `watch: network` "
                "(VALMON_WATCH=network)"
            )
