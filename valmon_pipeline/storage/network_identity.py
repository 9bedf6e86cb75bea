"""Which network a schema belongs to, and the refusal to mix two."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import sqlalchemy as sa

from valmon_pipeline.errors import StorageError
from valmon_pipeline.storage.advisory_locks import lock_for_transaction
from valmon_pipeline.storage.tables import table_of


@dataclass(frozen=True, slots=True)
class NetworkIdentity:
    """What tells one network from another. ``partition_epochs`` is fixed by the first run."""

    config_name: str
    genesis_time: int
    genesis_validators_root: bytes
    slots_per_epoch: int
    slot_duration_ms: int
    partition_epochs: int


def read_identity(connection: sa.Connection, schema: str) -> NetworkIdentity | None:
    """The network of ``schema``; None before the first run."""
    table = table_of(schema, "network_identity")
    row = connection.execute(
        sa.select(*(table.c[name] for name in NetworkIdentity.__dataclass_fields__))
    ).one_or_none()
    return None if row is None else NetworkIdentity(*row)


def bind_identity(
    connection: sa.Connection, schema: str, identity: NetworkIdentity
) -> NetworkIdentity:
    """Make ``schema`` that of ``identity`` if it is nobody's yet; the identity as stored.

    Raises:
        StorageError: the schema holds another network's data; every difference is named.
    """
    lock_for_transaction(connection, f"{schema}.network_identity")
    stored = read_identity(connection, schema)
    if stored is None:
        values = {"only_row": True, **asdict(identity)}
        connection.execute(table_of(schema, "network_identity").insert().values(values))
        return identity
    # The span of the child tables may not change under the tables that exist.
    offered = asdict(replace(identity, partition_epochs=stored.partition_epochs))
    differences = [
        f"{name} {_shown(value)} there, {_shown(offered[name])} here"
        for name, value in asdict(stored).items()
        if value != offered[name]
    ]
    if differences:
        raise StorageError(
            f"schema {schema} holds the data of another network: {'; '.join(differences)}. "
            "Give each network a schema of its own: set `network` in the configuration."
        )
    return stored


def _shown(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
