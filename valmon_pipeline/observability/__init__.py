"""What others watch valmon by: metrics for Prometheus, and whether it is alive and ready.

Gauges are read from the tables, so that they are those of the whole installation, most of whose
processes (runs) are gone before anybody could ask them.
"""
