"""Nodes with settings of their own, and the short form that has none."""

from __future__ import annotations

import pytest

from valmon_pipeline.config.beacon_nodes import BeaconNode
from valmon_pipeline.config.mistakes import InvalidConfigurationError
from valmon_pipeline.config.secret_url import SecretUrl
from valmon_pipeline.config.secrets import secrets_of
from valmon_pipeline_tests.config.conftest import Load, Mistakes

TWO_NODES = """
worker_pool_size: 6
rate_limit: {requests_per_second: 20}
http: {timeout_seconds: 5}
beacon_nodes:
  - url: http://localhost:5052
  - url: https://user:hunter2x@node.example/t0ken
    name: hosted
    rate_limit: {requests_per_second: 4, burst: 8}
    max_in_flight: 2
    timeout_seconds: 30
    archive: true
"""


def test_a_node_has_its_own_settings_and_else_those_of_all(load: Load) -> None:
    assert load(TWO_NODES).nodes == (
        BeaconNode(SecretUrl("http://localhost:5052"), None, 20.0, 100, 6, 5.0, archive=False),
        BeaconNode(
            SecretUrl("https://user:hunter2x@node.example/t0ken"),
            "hosted",
            4.0,
            8,
            2,
            30.0,
            archive=True,
        ),
    )


def test_the_short_form_means_nodes_with_the_settings_of_all(load: Load) -> None:
    short = load("beacon_node_url: [http://a, http://b]\nworker_pool_size: 3")
    long = load("beacon_nodes: [{url: http://a}, {url: http://b}]\nworker_pool_size: 3")
    assert short.nodes == long.nodes
    assert short.beacon_node_urls == long.beacon_node_urls


def test_a_name_is_shown_in_place_of_the_address(load: Load) -> None:
    shown = [node.shown for node in load(TWO_NODES).nodes]
    assert shown == ["http://localhost:5052", "hosted"]
    unnamed = load("beacon_nodes: [{url: 'https://user:hunter2x@node.example/t0ken'}]").nodes[0]
    assert unnamed.shown == "https://node.example/…"


def test_the_secrets_of_addresses_are_known_for_the_logs(load: Load) -> None:
    settings = load(TWO_NODES)
    assert {"user:hunter2x", "t0ken"} <= secrets_of(settings)
    assert "hunter2x" not in repr(settings) + settings.model_dump_json()


def test_nodes_can_be_set_by_the_environment(load: Load) -> None:
    settings = load(
        "beacon_nodes: [{url: http://a}]",
        VALMON_BEACON_NODES='[{"url": "http://b", "name": "b", "max_in_flight": "3"}]',
    )
    assert [(node.shown, node.max_in_flight) for node in settings.nodes] == [("b", 3)]


def test_all_mistakes_in_nodes_are_listed_at_once(mistakes: Mistakes) -> None:
    found = mistakes("""
        beacon_node_url: http://a:5052
        beacon_nodes:
          - name: no address
          - url: localhost:5052
            name: one
          - url: http://b:5052
            name: one
            rate_limit: {requests_per_second: fast, brust: 3}
          - url: http://b:5052/
            max_in_flight: 0
            timeout: 3
          - http://c:5052
    """)
    assert found == {
        "line 3 beacon_nodes": "beacon_node_url (line 2) names nodes, too: keep one of the two",
        "line 4 beacon_nodes[0].name": "expected a name such as local or hosted-1: letters, "
        "digits, - and _, at most 30",
        "line 4 beacon_nodes[0]": "url is missing",
        "line 5 beacon_nodes[1].url": "expected an address such as http://localhost:5052, with "
        "http:// or https://",
        "line 8 beacon_nodes[2].name": "another node has the same name (line 6)",
        "line 9 beacon_nodes[2].rate_limit.requests_per_second": "expected a number from 0.1 to "
        "10000",
        "line 9 beacon_nodes[2].rate_limit.brust": "unknown key; did you mean "
        "beacon_nodes[2].rate_limit.burst?",
        "line 10 beacon_nodes[3].url": "the same node is already listed (line 7)",
        "line 11 beacon_nodes[3].max_in_flight": "expected a whole number from 1 to 1000",
        "line 12 beacon_nodes[3].timeout": "unknown key; known here: url, name, rate_limit, "
        "max_in_flight, timeout_seconds, archive",
        "line 13 beacon_nodes[4]": "expected a section with the keys url, name, rate_limit, "
        "max_in_flight, timeout_seconds, archive, one per line, indented",
    }


@pytest.mark.parametrize(
    "text",
    [
        "beacon_nodes: ['http://user:hunter2x@node/hunter2x']",
        "beacon_nodes: [{url: 'ftp://user:hunter2x@node'}]",
        "beacon_nodes: [{url: 'user:hunter2x@node:5052'}]",
        "beacon_nodes: [{url: 'http://node', name: 'hunter2x@node'}]",
        "beacon_nodes: 'https://node/hunter2x'",
    ],
)
def test_no_mistake_shows_a_secret(load: Load, text: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        load(text)
    assert "hunter2x" not in str(caught.value)
