"""The command line, ``valmon …``: a module per group of commands."""

from __future__ import annotations

import sys

from valmon_pipeline.cli import administration, backfill, reports, up
from valmon_pipeline.cli.application import app, errors
from valmon_pipeline.errors import ConfigurationError, ValmonError

__all__ = ["administration", "app", "backfill", "main", "reports", "up"]


def main() -> None:
    """Run the command line: valmon's own errors become one message and an exit code, no traceback.

    Exit codes: 1 something failed, 2 the configuration or the command is wrong, 130 interrupted.
    """
    try:
        app()
    except ConfigurationError as error:
        errors.print(str(error), style="red", markup=False, highlight=False)
        sys.exit(2)
    except ValmonError as error:
        errors.print(str(error), style="red", markup=False, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
