"""The first tables: identity, registry, duties, outcomes, rewards and scores."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema = op.get_context().version_table_schema
    op.create_table(
        "network_identity",
        sa.Column("only_row", sa.Boolean(), autoincrement=False, nullable=False),
        sa.Column("config_name", sa.Text(), nullable=False),
        sa.Column("genesis_time", sa.BigInteger(), nullable=False),
        sa.Column("genesis_validators_root", sa.LargeBinary(), nullable=False),
        sa.Column("slots_per_epoch", sa.Integer(), nullable=False),
        sa.Column("slot_duration_ms", sa.Integer(), nullable=False),
        sa.Column("partition_epochs", sa.Integer(), nullable=False),
        sa.CheckConstraint("only_row", name=op.f("ck_network_identity_only_row")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("pk_network_identity")),
        schema=schema,
    )
    op.create_table(
        "validators",
        sa.Column("validator_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("pubkey", sa.LargeBinary(), nullable=False),
        sa.Column("withdrawal_credentials", sa.LargeBinary(), nullable=False),
        sa.Column("credential_type", sa.Text(), nullable=False),
        sa.Column("slashed", sa.Boolean(), nullable=False),
        sa.Column("activation_eligibility_epoch", sa.Integer(), nullable=True),
        sa.Column("activation_epoch", sa.Integer(), nullable=True),
        sa.Column("exit_epoch", sa.Integer(), nullable=True),
        sa.Column("withdrawable_epoch", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "credential_type IN ('bls', 'execution', 'compounding', 'unknown')",
            name=op.f("ck_validators_credential_type"),
        ),
        sa.PrimaryKeyConstraint("validator_index", name=op.f("pk_validators")),
        schema=schema,
    )
    op.create_index(
        op.f("ix_validators_pubkey"), "validators", ["pubkey"], unique=True, schema=schema
    )
    op.create_table(
        "validator_labels",
        sa.Column("validator_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("category", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("from_epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("until_epoch", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint(
            "validator_index", "category", "from_epoch", name=op.f("pk_validator_labels")
        ),
        schema=schema,
    )
    op.create_index(
        op.f("ix_validator_labels_category_value"),
        "validator_labels",
        ["category", "value"],
        unique=False,
        schema=schema,
    )
    op.create_table(
        "validator_snapshots",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("validator_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column("effective_balance", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "status IN ('pending_initialized', 'pending_queued', 'active_ongoing', "
            "'active_exiting', 'active_slashed', 'exited_unslashed', 'exited_slashed', "
            "'withdrawal_possible', 'withdrawal_done')",
            name=op.f("ck_validator_snapshots_status"),
        ),
        sa.PrimaryKeyConstraint(
            "epoch", "slot", "validator_index", name=op.f("pk_validator_snapshots")
        ),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    op.create_table(
        "blocks",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("proposer_index", sa.Integer(), nullable=True),
        sa.Column("block_root", sa.LargeBinary(), nullable=True),
        sa.Column("parent_root", sa.LargeBinary(), nullable=True),
        sa.Column("attestation_count", sa.Integer(), nullable=True),
        sa.Column("sync_participants", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "status IN ('proposed', 'missed', 'orphaned')", name=op.f("ck_blocks_status")
        ),
        sa.PrimaryKeyConstraint("epoch", "slot", name=op.f("pk_blocks")),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    op.create_table(
        "attestation_duties",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("validator_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("committee_index", sa.Integer(), nullable=False),
        sa.Column("committee_position", sa.Integer(), nullable=False),
        sa.Column("committee_length", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", "validator_index", name=op.f("pk_attestation_duties")),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    op.create_table(
        "attestation_outcomes",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("validator_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("included", sa.Boolean(), nullable=False),
        sa.Column("inclusion_slot", sa.Integer(), nullable=True),
        sa.Column("inclusion_delay", sa.Integer(), nullable=True),
        sa.Column("earliest_inclusion_slot", sa.Integer(), nullable=True),
        sa.Column("target_correct", sa.Boolean(), nullable=False),
        sa.Column("head_correct", sa.Boolean(), nullable=False),
        sa.Column("source_timely", sa.Boolean(), nullable=False),
        sa.Column("target_timely", sa.Boolean(), nullable=False),
        sa.Column("head_timely", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", "validator_index", name=op.f("pk_attestation_outcomes")),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    op.create_table(
        "proposer_duties",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("validator_index", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("block_root", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('proposed', 'missed', 'orphaned')", name=op.f("ck_proposer_duties_outcome")
        ),
        sa.PrimaryKeyConstraint("epoch", "slot", name=op.f("pk_proposer_duties")),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    op.create_index(
        op.f("ix_proposer_duties_validator_index_epoch"),
        "proposer_duties",
        ["validator_index", "epoch"],
        unique=False,
        schema=schema,
    )
    op.create_table(
        "sync_duties",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("validator_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seats", sa.Integer(), nullable=False),
        sa.Column("due", sa.Integer(), nullable=False),
        sa.Column("participated", sa.Integer(), nullable=False),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", "validator_index", name=op.f("pk_sync_duties")),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    op.create_table(
        "attestation_rewards",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("validator_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("effective_balance", sa.BigInteger(), nullable=False),
        sa.Column("source_reward", sa.BigInteger(), nullable=False),
        sa.Column("target_reward", sa.BigInteger(), nullable=False),
        sa.Column("head_reward", sa.BigInteger(), nullable=False),
        sa.Column("inactivity_penalty", sa.BigInteger(), nullable=False),
        sa.Column("total_reward", sa.BigInteger(), nullable=False),
        sa.Column("ideal_source", sa.BigInteger(), nullable=True),
        sa.Column("ideal_target", sa.BigInteger(), nullable=True),
        sa.Column("ideal_head", sa.BigInteger(), nullable=True),
        sa.Column("ideal_total", sa.BigInteger(), nullable=True),
        sa.Column("attainable_total", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("epoch", "validator_index", name=op.f("pk_attestation_rewards")),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    op.create_table(
        "block_rewards",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("proposer_index", sa.Integer(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("attestations", sa.BigInteger(), nullable=False),
        sa.Column("sync_aggregate", sa.BigInteger(), nullable=False),
        sa.Column("proposer_slashings", sa.BigInteger(), nullable=False),
        sa.Column("attester_slashings", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", "slot", name=op.f("pk_block_rewards")),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    op.create_index(
        op.f("ix_block_rewards_proposer_index_epoch"),
        "block_rewards",
        ["proposer_index", "epoch"],
        unique=False,
        schema=schema,
    )
    op.create_table(
        "sync_rewards",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("validator_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reward", sa.BigInteger(), nullable=False),
        sa.Column("ideal_reward", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("epoch", "validator_index", name=op.f("pk_sync_rewards")),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    op.create_table(
        "effectiveness_scores",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("validator_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attestation_effectiveness", sa.Double(), nullable=True),
        sa.Column("reward_effectiveness", sa.Double(), nullable=True),
        sa.Column("proposer_effectiveness", sa.Double(), nullable=True),
        sa.Column("sync_effectiveness", sa.Double(), nullable=True),
        sa.Column("percentile_rank", sa.Double(), nullable=True),
        sa.Column("network_percentile_rank", sa.Double(), nullable=True),
        sa.Column("formula_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", "validator_index", name=op.f("pk_effectiveness_scores")),
        schema=schema,
        postgresql_partition_by="RANGE (epoch)",
    )
    op.create_table(
        "network_epochs",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("finalized", sa.Boolean(), nullable=False),
        sa.Column("window_root", sa.LargeBinary(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("active_validators", sa.Integer(), nullable=True),
        sa.Column("total_active_balance", sa.BigInteger(), nullable=True),
        sa.Column("base_reward_per_increment", sa.BigInteger(), nullable=True),
        sa.Column("source_participating_balance", sa.BigInteger(), nullable=True),
        sa.Column("target_participating_balance", sa.BigInteger(), nullable=True),
        sa.Column("head_participating_balance", sa.BigInteger(), nullable=True),
        sa.Column("leak", sa.Boolean(), nullable=True),
        sa.Column("blocks_proposed", sa.Integer(), nullable=False),
        sa.Column("blocks_missed", sa.Integer(), nullable=False),
        sa.Column("formula_version", sa.Integer(), nullable=False),
        sa.Column("materialized_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_network_epochs")),
        schema=schema,
    )
    op.create_table(
        "check_results",
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("check_name", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("failing_count", sa.Integer(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "severity IN ('warning', 'error')", name=op.f("ck_check_results_severity")
        ),
        sa.PrimaryKeyConstraint("epoch", "check_name", name=op.f("pk_check_results")),
        schema=schema,
    )


def downgrade() -> None:
    schema = op.get_context().version_table_schema
    op.drop_table("check_results", schema=schema)
    op.drop_table("network_epochs", schema=schema)
    op.drop_table("effectiveness_scores", schema=schema)
    op.drop_table("sync_rewards", schema=schema)
    op.drop_table("block_rewards", schema=schema)
    op.drop_table("attestation_rewards", schema=schema)
    op.drop_table("sync_duties", schema=schema)
    op.drop_table("proposer_duties", schema=schema)
    op.drop_table("attestation_outcomes", schema=schema)
    op.drop_table("attestation_duties", schema=schema)
    op.drop_table("blocks", schema=schema)
    op.drop_table("validator_snapshots", schema=schema)
    op.drop_table("validator_labels", schema=schema)
    op.drop_table("validators", schema=schema)
    op.drop_table("network_identity", schema=schema)
