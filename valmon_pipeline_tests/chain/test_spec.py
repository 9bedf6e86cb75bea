from __future__ import annotations

import pytest

from valmon_pipeline.chain.epochs import NEVER
from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.errors import ChainRuleViolationError, UnsupportedForkError
from valmon_pipeline_tests.chain.presets import (
    GNOSIS,
    MAINNET,
    MAINNET_CONFIG,
    MINIMAL,
    MINIMAL_CONFIG,
)
from valmon_pipeline_tests.recording import devnet


@pytest.mark.parametrize(
    ("spec", "slots", "milliseconds"),
    [(MAINNET, 32, 384_000), (GNOSIS, 16, 80_000), (MINIMAL, 8, 48_000)],
)
def test_presets_differ_in_their_clock(spec: ChainSpec, slots: int, milliseconds: int) -> None:
    assert spec.slots_per_epoch == slots
    assert spec.epoch_duration_ms == milliseconds
    assert spec.first_slot(3) == 3 * slots
    assert spec.last_slot(3) == 4 * slots - 1
    assert spec.epoch_of(spec.last_slot(3)) == 3
    assert spec.epoch_of(spec.last_slot(3) + 1) == 4


@pytest.mark.parametrize("spec", [MAINNET, GNOSIS, MINIMAL])
def test_wall_clock_and_slots_are_inverse(spec: ChainSpec) -> None:
    genesis = 1_606_824_023
    for slot in (0, 1, spec.slots_per_epoch, 10**7):
        start = spec.slot_start_ms(genesis, slot)
        assert spec.slot_at(genesis, start) == slot
        assert spec.slot_at(genesis, start + spec.slot_duration_ms - 1) == slot
    assert spec.slot_at(genesis, genesis * 1000 - 1) == 0


def test_mainnet_forks_by_epoch() -> None:
    assert MAINNET.fork_at_epoch(0) is Fork.PHASE0
    assert MAINNET.fork_at_epoch(74_239) is Fork.PHASE0
    assert MAINNET.fork_at_epoch(74_240) is Fork.ALTAIR
    assert MAINNET.fork_at_epoch(364_031) is Fork.DENEB
    assert MAINNET.fork_at_slot(364_032 * 32 - 1) is Fork.DENEB
    assert MAINNET.fork_at_slot(364_032 * 32) is Fork.ELECTRA
    assert MAINNET.fork_at_epoch(411_392) is Fork.FULU
    assert MAINNET.fork_epochs[Fork.GLOAS] == NEVER


def test_forks_of_one_epoch_replace_each_other() -> None:
    assert MINIMAL.fork_at_epoch(0) is Fork.FULU


def test_quotients_follow_the_fork() -> None:
    assert MAINNET.min_slashing_penalty_quotient[Fork.ALTAIR] == 64
    assert MAINNET.min_slashing_penalty_quotient[Fork.DENEB] == 32
    assert MAINNET.min_slashing_penalty_quotient[Fork.FULU] == 4096
    assert MAINNET.whistleblower_reward_quotient[Fork.DENEB] == 512
    assert MAINNET.whistleblower_reward_quotient[Fork.ELECTRA] == 4096
    assert MAINNET.inactivity_penalty_quotient[Fork.ELECTRA] == 2**24
    assert MAINNET.proportional_slashing_multiplier[Fork.BELLATRIX] == 3


def test_slot_duration_in_milliseconds_wins() -> None:
    both = ChainSpec.from_config({**MAINNET_CONFIG, "SLOT_DURATION_MS": "11500"})
    assert both.slot_duration_ms == 11_500


def test_integers_may_be_bare_and_unknown_names_are_ignored() -> None:
    spec = ChainSpec.from_config(
        {**MAINNET_CONFIG, "SLOTS_PER_EPOCH": 32, "BLOB_SCHEDULE": [{"EPOCH": "1"}]}
    )
    assert spec == MAINNET


def test_a_chain_without_electra_needs_none_of_its_parameters() -> None:
    config = {
        name: value
        for name, value in MAINNET_CONFIG.items()
        if "ELECTRA" not in name and "FULU" not in name and name != "MIN_ACTIVATION_BALANCE"
    }
    spec = ChainSpec.from_config(config)
    assert spec.fork_epochs[Fork.ELECTRA] == NEVER
    assert spec.max_effective_balance_electra == spec.max_effective_balance
    assert spec.min_activation_balance == spec.max_effective_balance
    assert Fork.DENEB in spec.min_slashing_penalty_quotient


def test_a_chain_that_starts_at_a_late_fork_needs_no_older_quotients() -> None:
    config = {
        name: value
        for name, value in MINIMAL_CONFIG.items()
        if name not in ("MIN_SLASHING_PENALTY_QUOTIENT", "INACTIVITY_PENALTY_QUOTIENT_ALTAIR")
    }
    spec = ChainSpec.from_config(config)
    assert Fork.PHASE0 not in spec.min_slashing_penalty_quotient
    assert spec.inactivity_penalty_quotient[Fork.FULU] == 2**24


def test_every_mistake_is_named_at_once() -> None:
    config: dict[str, object] = dict(MAINNET_CONFIG)
    del config["SECONDS_PER_SLOT"]
    del config["CONFIG_NAME"]
    config["SLOTS_PER_EPOCH"] = "0"
    config["BASE_REWARD_FACTOR"] = 64.0
    config["SYNC_COMMITTEE_SIZE"] = True
    config["EJECTION_BALANCE"] = "-1"
    config["ALTAIR_FORK_EPOCH"] = "soon"
    config["MIN_ACTIVATION_BALANCE"] = "9" * 5000
    with pytest.raises(ChainRuleViolationError) as caught:
        ChainSpec.from_config(config)
    message = str(caught.value)
    for part in (
        "SLOT_DURATION_MS or SECONDS_PER_SLOT is missing",
        "CONFIG_NAME is missing",
        "SLOTS_PER_EPOCH is '0', expected an integer of at least 1",
        "BASE_REWARD_FACTOR is 64.0",
        "SYNC_COMMITTEE_SIZE is True",
        "EJECTION_BALANCE is '-1'",
        "ALTAIR_FORK_EPOCH is 'soon'",
        "MIN_ACTIVATION_BALANCE is",
        "/eth/v1/config/spec",
    ):
        assert part in message


def test_epochs_before_altair_and_since_gloas_are_refused_by_name() -> None:
    spec = ChainSpec.from_config({**MAINNET_CONFIG, "GLOAS_FORK_EPOCH": "500000"})
    assert spec.require_supported(499_999) is Fork.FULU
    with pytest.raises(UnsupportedForkError, match=r"epoch 500001 is at fork GLOAS"):
        spec.require_supported(500_001)
    with pytest.raises(UnsupportedForkError, match=r"epoch 74239 is at fork PHASE0"):
        spec.require_supported(74_239)


def test_a_scheduled_fork_valmon_has_never_heard_of_is_refused() -> None:
    spec = ChainSpec.from_config(
        {**MAINNET_CONFIG, "EIP9999_FORK_EPOCH": "600000", "HEZE_FORK_EPOCH": str(2**64 - 1)}
    )
    assert spec.unknown_fork_epochs == {"EIP9999": 600_000}
    assert spec.require_supported(599_999) is Fork.FULU
    with pytest.raises(UnsupportedForkError, match="EIP9999"):
        spec.require_supported(600_000)


def test_the_recorded_node_is_understood() -> None:
    spec = devnet().spec
    assert (spec.slots_per_epoch, spec.slot_duration_ms, spec.config_name) == (8, 2000, "minimal")
    assert spec.fork_at_epoch(3) is Fork.DENEB
    assert spec.fork_at_epoch(4) is Fork.ELECTRA
    assert spec.fork_epochs[Fork.FULU] == NEVER


def test_what_lays_out_a_state_is_read_where_it_is_listed() -> None:
    listed = {
        **MAINNET_CONFIG,
        "ELECTRA_FORK_VERSION": "0x05000000",
        "SLOTS_PER_HISTORICAL_ROOT": "8192",
    }
    spec = ChainSpec.from_config(listed)
    assert spec.fork_versions == {Fork.ELECTRA: b"\x05\0\0\0"}
    assert spec.slots_per_historical_root == 8192
    assert spec.epochs_per_historical_vector is None
    assert spec.shuffle_round_count is None
    assert devnet().spec.required("shuffle_round_count", "nothing works") == 10
    with pytest.raises(
        ChainRuleViolationError, match="list SHUFFLE_ROUND_COUNT, without which nothing works"
    ):
        spec.required("shuffle_round_count", "nothing works")
    with pytest.raises(ChainRuleViolationError, match="ELECTRA_FORK_VERSION is '0x05', expected 4"):
        ChainSpec.from_config({**listed, "ELECTRA_FORK_VERSION": "0x05"})
