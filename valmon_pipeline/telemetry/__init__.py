"""What a process tells of itself; nothing here knows of chains, nodes or tables.

The processes of an installation come and go (each run is one), so that nobody can ask them: what
they count is added up in the database (``storage.process_counters``), and served from there.
"""

from valmon_pipeline.telemetry.process_counts import ProcessCounts

__all__ = ["ProcessCounts"]
