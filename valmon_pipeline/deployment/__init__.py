"""Running valmon on one machine: the home directory, the embedded database and the processes.

``installation`` says where everything is, ``databases`` brings the database up, ``supervisor``
starts and stops the processes of ``valmon up``, ``backfill`` runs epochs within this process.
"""
