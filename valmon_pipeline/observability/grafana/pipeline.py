"""How valmon itself does."""

from __future__ import annotations

from typing import Final

from valmon_pipeline.observability.grafana.dashboard import (
    EPOCHS,
    IN_TIME,
    NETWORK,
    POINT,
    Dashboard,
    Panel,
    over_time,
    time_of,
)

PIPELINE: Final = Dashboard(
    "valmon-pipeline",
    "valmon: pipeline",
    [
        Panel(
            "Epochs stored, final, and incomplete",
            "timeseries",
            over_time(
                "count(*) AS stored, count(*) FILTER (WHERE finalized) AS final,\n"
                "    count(*) FILTER (WHERE missing_facts > 0) AS incomplete",
                "network_epochs",
            ),
            description="Incomplete ones lack a fact: what rests on it is NULL.",
        ),
        Panel(
            "Seconds from the end of an epoch to its rows",
            "timeseries",
            f"{EPOCHS}, points AS (SELECT {POINT} AS point,\n"
            f"    max(extract(epoch FROM materialized_at - {time_of('epoch + 1')})) AS seconds\n"
            f"    FROM {NETWORK}.network_epochs, network WHERE {IN_TIME} GROUP BY 1)\n"
            f"SELECT {time_of('point')} AS time, points.* FROM points, network ORDER BY 1",
            unit="s",
            description="Of the newest materialization: high for what was loaded later.",
        ),
        Panel(
            "Missing facts",
            "table",
            f"{EPOCHS}SELECT fact, count(*) AS epochs, min(epoch) AS oldest,\n"
            "       max(epoch) AS newest, mode() WITHIN GROUP (ORDER BY reason) AS reason\n"
            f"  FROM {NETWORK}.fact_sources WHERE source IS NULL AND {IN_TIME}\n"
            " GROUP BY 1 ORDER BY 2 DESC, 1",
            description="The reason is the one that most of the epochs have.",
        ),
        Panel(
            "Checks",
            "table",
            f"{EPOCHS}SELECT check_name, count(passed) AS epochs,\n"
            "       count(*) - count(passed) AS not_compared,\n"
            "       count(*) FILTER (WHERE NOT passed) AS failed, sum(failing_count) AS rows,\n"
            "       max(epoch) FILTER (WHERE NOT passed) AS last_failed\n"
            f"  FROM {NETWORK}.check_results WHERE {IN_TIME}\n"
            " GROUP BY 1 ORDER BY 4 DESC, 1",
            description="Not compared: epochs in which the check had nothing to compare.",
        ),
        Panel(
            "Values corrected",
            "stat",
            f"{EPOCHS}SELECT count(*) AS values, count(DISTINCT epoch) AS epochs\n"
            f"  FROM {NETWORK}.corrections WHERE {IN_TIME}",
        ),
        Panel(
            "Nodes",
            "table",
            "SELECT node, count(*) AS epochs, max(epoch) AS newest\n"
            f"  FROM {NETWORK}.network_epochs\n"
            f" WHERE epoch > (SELECT max(epoch) FROM {NETWORK}.network_epochs) - 1000\n"
            " GROUP BY 1 ORDER BY 1",
        ),
        Panel(
            "Tables",
            "table",
            "SELECT coalesce(parent.relname, own.relname) AS table,\n"
            "       sum(greatest(own.reltuples, 0))::bigint AS rows_estimated,\n"
            "       sum(pg_total_relation_size(own.oid))::bigint AS bytes\n"
            "  FROM pg_class own JOIN pg_namespace n ON n.oid = own.relnamespace\n"
            "  LEFT JOIN pg_inherits i ON i.inhrelid = own.oid\n"
            "  LEFT JOIN pg_class parent ON parent.oid = i.inhparent\n"
            " WHERE n.nspname = ${network:sqlstring} AND own.relkind = 'r'\n"
            " GROUP BY 1 ORDER BY 3 DESC",
        ),
    ],
)
