"""The command line, ``valmon …``: a module per group of commands."""

from __future__ import annotations

import sys

from valmon_pipeline.cli import (
    administration,
    alert_backtest,
    alerts,
    backfill,
    doctor,
    drill,
    maintenance,
    metrics,
    nodes,
    report,
    reports,
    rescore,
    silence,
    up,
)
from valmon_pipeline.cli.application import app, complain
from valmon_pipeline.deployment.interrupts import interruptible
from valmon_pipeline.errors import ConfigurationError, ValmonError

__all__ = [
    "administration",
    "alert_backtest",
    "alerts",
    "app",
    "backfill",
    "doctor",
    "drill",
    "main",
    "maintenance",
    "metrics",
    "nodes",
    "report",
    "reports",
    "rescore",
    "silence",
    "up",
]


def main() -> None:
    """Run the command line: valmon's own errors become one message and an exit code, no traceback.

    Exit codes: 0 done (also ``up``, stopped after everything was up), 1 something failed, 2 the
    configuration or the command is wrong, 130 interrupted before it was done.
    """
    try:
        with interruptible():
            app(prog_name="valmon")
    except ConfigurationError as error:
        complain(str(error))
        sys.exit(2)
    except ValmonError as error:
        complain(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
