"""``python -m valmon_pipeline`` is ``valmon``."""

from __future__ import annotations

from valmon_pipeline.cli import main

if __name__ == "__main__":
    main()
