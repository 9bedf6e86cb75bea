"""Assets, kept thin: fetch with ``beacon``, compute with the pure parts, store validated frames.

``epoch_reader`` asks the node, the modules named for an asset group build that group's frames,
``checks`` compares facts that were derived twice, ``materialization`` puts one epoch together, and
``epoch``, ``history`` and ``validators`` are what Dagster sees.
"""
