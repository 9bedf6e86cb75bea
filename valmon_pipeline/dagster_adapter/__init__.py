"""Everything of valmon that depends on parts of Dagster that Dagster does not promise to keep.

``internals`` has the names that are not part of Dagster's public interface, ``pooled_storage`` the
storage of ``dagster.yaml``. No other module imports from ``dagster._…``: ruff refuses it.
"""
