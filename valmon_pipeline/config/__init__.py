"""The settings of one valmon installation, from one YAML file and the environment.

This package is the only reader of either. Everything else is handed a :class:`Settings` or
values taken from it.
"""

from valmon_pipeline.config.current_watch_list import CurrentWatchList
from valmon_pipeline.config.loading import find_config_file, load_settings
from valmon_pipeline.config.mistakes import InvalidConfigurationError, Mistake
from valmon_pipeline.config.secret_url import SecretUrl
from valmon_pipeline.config.settings import (
    BackfillSettings,
    DatabaseSettings,
    HttpSettings,
    RateLimitSettings,
    Settings,
)
from valmon_pipeline.config.watch_list import ValidatorId, WatchList

__all__ = [
    "BackfillSettings",
    "CurrentWatchList",
    "DatabaseSettings",
    "HttpSettings",
    "InvalidConfigurationError",
    "Mistake",
    "RateLimitSettings",
    "SecretUrl",
    "Settings",
    "ValidatorId",
    "WatchList",
    "find_config_file",
    "load_settings",
]
