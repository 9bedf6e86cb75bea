"""The error of everything that reads recordings."""

from __future__ import annotations

from valmon_pipeline.errors import ValmonError


class RecordingError(ValmonError):
    """A recording lacks what is needed to replay it; the message names the file and the request."""
