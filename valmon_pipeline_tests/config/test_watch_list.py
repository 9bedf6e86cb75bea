"""Who is watched, in every form it can be written, and never twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valmon_pipeline.config import Settings
from valmon_pipeline.config.validators import ValidatorEntry
from valmon_pipeline.config.watch_list import WatchList, find_duplicates
from valmon_pipeline_tests.config.conftest import Load, Mistakes

KEY = "0x" + "ab" * 48
OTHER = "0x" + "0c" * 48


def test_validator_zero_is_watched(load: Load) -> None:
    watched = load("validators: [0]").watch_list
    assert watched.indices == (0,)
    assert not watched.is_empty
    assert load("validators: [{index: 0, labels: {vc: 0}}]").watch_list.labels == {0: {"vc": "0"}}


def test_every_form_of_an_entry(load: Load) -> None:
    watched = load(
        f"""
        validators:
          - 7
          - "8"
          - 0..2
          - {KEY.upper().replace("0X", "0x")}
          - {{index: 20, labels: [operator:a, "region: sbg"]}}
          - {{indices: 30..31, labels: {{operator: a}}}}
          - {{indices: [40, 50..51], pubkeys: ["{OTHER.removeprefix("0x")}"], labels: "op:a:b"}}
        """
    ).watch_list
    assert watched.indices == (0, 1, 2, 7, 8, 20, 30, 31, 40, 50, 51)
    assert watched.pubkeys == (OTHER, KEY)
    assert watched.labels == {
        20: {"operator": "a", "region": "sbg"},
        30: {"operator": "a"},
        31: {"operator": "a"},
        40: {"op": "a:b"},
        50: {"op": "a:b"},
        51: {"op": "a:b"},
        OTHER: {"op": "a:b"},
    }
    assert not watched.everyone


def test_the_whole_network_keeps_the_labels_of_those_listed(load: Load) -> None:
    watched = load("watch: network\nvalidators: [{index: 3, labels: [a:b]}]").watch_list
    assert watched.everyone
    assert not watched.is_empty
    assert watched.labels == {3: {"a": "b"}}


def test_mistakes_in_entries(mistakes: Mistakes) -> None:
    anything = "expected a validator index, a range such as 0..39, a public key, or a section"
    index = "expected a validator index from 0 to 2147483647, or a range such as 0..39"
    label = 'expected a label of the form category:value, such as "operator:a"'
    key = "expected a public key: 0x and 96 hex digits"
    names = "names no validator: expected index, indices, pubkey or pubkeys"
    found = mistakes(
        f"""\
        validators:
          - true
          - 1.5
          -
          - -1
          - 2147483648
          - someone
          - 9..3
          - 0..1000000
          - 0x12
          - 0x{"g" * 96}
          - {{labels: [a:b]}}
          - {{labels: [ab]}}
          - {{index: 1, lables: [a:b]}}
          - {{index: 2, labels: [a:b, ab, "a:", ":b", 3, 1a:b, scope:watched, a:c]}}
          - {{index: 3, labels: {{a: }}}}
          - {{indices: [], pubkeys: []}}
          - {{pubkey: 17}}
          - []
        """
    )
    assert found == {
        "line 2 validators[0]": anything,
        "line 3 validators[1]": anything,
        "line 4 validators[2]": anything,
        "line 5 validators[3]": index,
        "line 6 validators[4]": index,
        "line 7 validators[5]": index,
        "line 8 validators[6]": "expected a range that ascends, such as 3..9",
        "line 9 validators[7]": "expected at most 1000000 validators in a range; "
        "see `watch: network`",
        "line 10 validators[8]": f"{key}; this has 2 digits",
        "line 11 validators[9]": key,
        "line 12 validators[10]": names,
        "line 13 validators[11].labels[0]": label,
        "line 13 validators[11]": names,
        "line 14 validators[12].lables": "unknown key; did you mean validators[12].labels?",
        "line 15 validators[13].labels[1]": label,
        "line 15 validators[13].labels[2]": label,
        "line 15 validators[13].labels[3]": label,
        "line 15 validators[13].labels[4]": label,
        "line 15 validators[13].labels[5]": "expected a category that starts with a letter and "
        "has letters, digits, _ . or -, at most 63",
        "line 15 validators[13].labels[6]": "the category scope is valmon's own; "
        "choose another name",
        "line 15 validators[13]": 'the label category "a" has two values, "b" and "c"; '
        "expected one",
        "line 16 validators[14].labels": label,
        "line 17 validators[15]": names,
        "line 18 validators[16].pubkey": key,
        "line 19 validators[17]": "expected a section with the keys index, indices, pubkey, "
        "pubkeys, labels, one per line, indented",
    }


def test_duplicates_are_mistakes_whatever_the_form(mistakes: Mistakes) -> None:
    found = mistakes(
        f"""\
        validators:
          - 10..19
          - 12
          - 15..24
          - "{KEY}"
          - {{indices: [3, 3]}}
        watched_keys:
          - public_key: "{KEY.upper().replace("0X", "0x")}"
        worker_pool_size: ten
        """
    )
    assert found == {
        "line 3 validators[1]": "validator 12 is already listed (line 2)",
        "line 4 validators[2]": "validators 15..19 are already listed (line 2)",
        "line 6 validators[4]": "validator 3 is listed twice in this entry",
        "line 8 watched_keys[0]": "validator 0xabababab…abab is already listed (line 5)",
        "line 9 worker_pool_size": "expected a whole number from 1 to 1000",
    }


class TestEthValidatorWatcher:
    """Files of Kiln's eth-validator-watcher are read as they are."""

    def test_a_file_of_it(self, load: Load) -> None:
        settings = load(
            f"""
            beacon_url: http://localhost:5051/
            beacon_type: other
            beacon_timeout_sec: 90
            network: hoodi
            execution_url: http://localhost:8545/
            web3signer_url: ~
            slack_channel: ~
            slack_token: secret
            relays: [http://relay1]
            liveness_file: /tmp/i-am-alive
            metrics_port: 8000
            watched_keys:
              - public_key: '{KEY}'
                labels: ["operator:kiln", "google"]
                fee_recipient: ~
              - public_key: {OTHER.removeprefix("0x")}
                labels: ~
            """
        )
        assert [url.reveal() for url in settings.beacon_node_urls] == ["http://localhost:5051/"]
        assert settings.http.timeout_seconds == 90.0
        assert settings.network == "hoodi"
        assert settings.watch_list.pubkeys == (OTHER, KEY)
        assert settings.watch_list.labels == {KEY: {"operator": "kiln", "google": "google"}}

    def test_its_mistakes_have_its_lines_and_names(self, mistakes: Mistakes) -> None:
        assert mistakes(
            """\
            beacon_url: localhost
            beacon_timeout_sec: soon
            slack_chanel: x
            watched_keys:
              - labels: [a:b]
              - public_key: 0x12
            """
        ) == {
            "line 1 beacon_url": "expected an address such as http://localhost:5052, "
            "with http:// or https://",
            "line 2 beacon_timeout_sec": "expected a number of seconds from 0.1 to 600",
            "line 3 slack_chanel": "unknown key",
            "line 5 watched_keys[0]": "public_key is missing",
            "line 6 watched_keys[1].public_key": "expected a public key: 0x and 96 hex digits; "
            "this has 2 digits",
        }

    def test_other_files_cannot_use_its_names(self, mistakes: Mistakes) -> None:
        assert mistakes("beacon_url: http://a\nmetrics_port: 1\n") == {
            "line 1 beacon_url": "unknown key; did you mean beacon_node_url?",
            "line 2 metrics_port": "unknown key; did you mean metrics?",
        }


def test_the_settings_written_out_are_the_settings(load: Load) -> None:
    settings = load(
        f"""
        retention_days: forever
        validators:
          - 0..2
          - {{indices: [5, 7..8], pubkeys: ["{KEY}"], labels: [operator:a, b:c:d]}}
        """
    )
    again = Settings.model_validate_json(settings.model_dump_json())
    assert again == settings
    assert again.watch_list == settings.watch_list


_RANGES = st.tuples(st.integers(0, 60), st.integers(0, 8)).map(
    lambda pair: range(pair[0], sum(pair) + 1)
)


@given(st.lists(st.lists(_RANGES, min_size=1, max_size=3), max_size=8))
def test_duplicates_are_found_exactly_when_there_are_any(listed: list[list[range]]) -> None:
    entries = [ValidatorEntry(indices=tuple(ranges)) for ranges in listed]
    every = [index for ranges in listed for each in ranges for index in each]
    assert bool(list(find_duplicates(entries))) == (len(every) != len(set(every)))
    assert WatchList.of(entries, everyone=False).indices == tuple(sorted(set(every)))


@pytest.mark.parametrize("written", ["indices", "pubkeys"])
def test_nobody_is_not_everybody(load: Load, written: str) -> None:
    watched = load("validators: []").watch_list
    assert watched.is_empty
    assert not watched.everyone
    assert getattr(watched, written) == ()


def test_the_fingerprint_tells_who_is_watched_and_labelled_how(load: Load) -> None:
    def fingerprint(text: str) -> str:
        return load(text).watch_list.fingerprint

    assert fingerprint("validators: [1, 2..3]") == fingerprint("validators: [3, 2, 1]")
    different = [
        "validators: [1, 2]",
        "validators: [1, 3]",
        "validators: [1, 2]\nwatch: network",
        f"validators: [1, 2, '{KEY}']",
        "validators: [{index: 1, labels: [a:b]}, 2]",
        "validators: [{index: 1, labels: [a:c]}, 2]",
        "validators: [1, {index: 2, labels: [a:b]}]",
    ]
    assert len({fingerprint(text) for text in different}) == len(different)
