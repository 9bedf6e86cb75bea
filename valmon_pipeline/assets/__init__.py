"""Assets: read with ``reading``, compute with the pure ``epoch``, store through the IO manager.

``steps``, ``history``, ``registry`` and ``day_summaries`` are what Dagster sees; ``fact_batch``,
``score_batch`` and ``standings`` are the steps without it.
"""
