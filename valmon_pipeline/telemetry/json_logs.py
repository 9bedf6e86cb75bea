"""Log lines as JSON objects, one each, without secrets."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

HIDDEN: Final = "…"
_LOGIN: Final = re.compile(r"(?<=://)[^\s/@]+(?=@)")
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_DAGSTER: Final = "dagster_meta"
_OF_THE_RUN: Final = {"run_id": "run_id", "job_name": "job", "step_key": "step"}
_SHORTEST_SECRET: Final = 4


class Redactor:
    """Takes secrets out of text: those that are known, and logins in addresses."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # What is shorter than a few letters would be hidden everywhere.
        known = sorted({one for one in secrets if len(one) >= _SHORTEST_SECRET}, key=len)
        self._known = [*reversed(known)]

    def __call__(self, text: str) -> str:
        """The text without them."""
        for secret in self._known:
            text = text.replace(secret, HIDDEN)
        return _LOGIN.sub(HIDDEN, text)


class JsonFormatter(logging.Formatter):
    """A record as one line: time, level, logger, message; the run and its step, where there is one;
    every ``extra`` of the record under its own name; and the traceback, if any."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        at = datetime.fromtimestamp(record.created, UTC)
        fields: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        of_run = getattr(record, _DAGSTER, None) or {}
        if isinstance(of_run, dict):
            for name, shown in _OF_THE_RUN.items():
                if of_run.get(name) is not None:
                    fields[shown] = of_run[name]
            fields["message"] = of_run.get("orig_message") or fields["message"]
        for name, value in vars(record).items():
            if name not in _STANDARD and name != _DAGSTER and not name.startswith("_"):
                fields.setdefault(name, value)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return self._redacted(fields)

    def _redacted(self, fields: dict[str, Any]) -> str:
        # Before it becomes JSON, whose escapes would hide a secret from who looks for it.
        plain = {
            name: value
            if isinstance(value, bool | int | float) or value is None
            else self._redact(str(value))
            for name, value in fields.items()
        }
        return json.dumps(plain, ensure_ascii=False)


def json_handler(secrets: Iterable[str] = ()) -> logging.Handler:
    """A handler that writes such lines to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(Redactor(secrets)))
    return handler


def use_json_logs(secrets: Iterable[str] = (), loggers: Iterable[str] = ()) -> logging.Handler:
    """Have everything that this process logs be written so, warnings and its last error included;
    the handler.

    ``loggers`` are those that libraries have given handlers of their own: they lose them.
    """
    handler = json_handler(secrets)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in loggers:
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
    for name in ("httpx", "httpcore"):
        # A line per request would be most of the log; they are counted in the metrics.
        logging.getLogger(name).setLevel(logging.WARNING)

    def tell_last_error(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        logging.getLogger("valmon").critical(
            "%s: %s", kind.__name__, error, exc_info=(kind, error, trace)
        )

    logging.captureWarnings(True)
    sys.excepthook = tell_last_error
    return handler
