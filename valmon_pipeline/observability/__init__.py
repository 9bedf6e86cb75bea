"""What others watch valmon by: metrics for Prometheus, and whether it is alive and ready.

Everything is read from the tables, so that the figures are those of all processes of an
installation, most of which (runs) are gone before anybody could ask them.
"""
