"""A process that sends what is due, to be killed: ``… URL SCHEMA ADDRESS``."""

from __future__ import annotations

import sys

from valmon_pipeline.notify.channels import Channel
from valmon_pipeline.notify.sender import Sender
from valmon_pipeline.notify.wiring import send_to
from valmon_pipeline.storage.database import Database


def main(url: str, schema: str, address: str) -> None:
    """Send once."""
    Sender({"oncall": send_to(Channel("oncall", address))}).send_due(Database(url, schema))


if __name__ == "__main__":
    main(*sys.argv[1:])
