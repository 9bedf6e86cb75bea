"""Write the dashboards: ``python -m valmon_pipeline.observability.grafana DIRECTORY``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from valmon_pipeline.observability.grafana import DASHBOARDS


def main() -> None:
    """Write a file per dashboard."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for dashboard in DASHBOARDS:
        text = json.dumps(dashboard.as_json(), indent=2, ensure_ascii=False)
        (directory / f"{dashboard.uid}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
