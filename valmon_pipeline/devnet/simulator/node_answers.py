"""Answers about the node and the network: clock, identity, specification, health."""

from __future__ import annotations

import msgspec

from valmon_pipeline.devnet.answer import Answer, json_answer
from valmon_pipeline.devnet.question import Question
from valmon_pipeline.devnet.simulator.node_view import NodeView

_FORKS = ("GENESIS", "ALTAIR", "BELLATRIX", "CAPELLA", "DENEB", "ELECTRA", "FULU", "GLOAS")
NODE_VERSION = "valmon-simulator/1"
"""How the node calls its software."""


class NodeAnswers:
    """Answers that do not depend on a state or block."""

    def __init__(self, view: NodeView) -> None:
        self._view = view

    def spec(self, question: Question) -> Answer:
        """The specification."""
        return json_answer({"data": self._view.simulation.config})

    def genesis(self, question: Question) -> Answer:
        """Time and identity of the network."""
        simulation = self._view.simulation
        data = {
            "genesis_validators_root": simulation.entropy.hex(32, "genesis validators"),
            "genesis_time": str(self._view.genesis_time),
            "genesis_fork_version": simulation.config["GENESIS_FORK_VERSION"],
        }
        return json_answer({"data": data})

    def fork_schedule(self, question: Question) -> Answer:
        """All forks, those without an epoch too."""
        config = self._view.simulation.config
        data = []
        for number, fork in enumerate(_FORKS):
            previous = _FORKS[max(number - 1, 0)]
            data.append(
                {
                    "previous_version": config[f"{previous}_FORK_VERSION"],
                    "current_version": config[f"{fork}_FORK_VERSION"],
                    "epoch": "0" if number == 0 else config[f"{fork}_FORK_EPOCH"],
                }
            )
        return json_answer({"data": data})

    def deposit_contract(self, question: Question) -> Answer:
        """Chain and address of the deposit contract."""
        config = self._view.simulation.config
        data = {
            "chain_id": config["DEPOSIT_CHAIN_ID"],
            "address": config["DEPOSIT_CONTRACT_ADDRESS"],
        }
        return json_answer({"data": data})

    def version(self, question: Question) -> Answer:
        """The node's software."""
        return json_answer({"data": {"version": NODE_VERSION}})

    def syncing(self, question: Question) -> Answer:
        """Sync status, with the faults of the script."""
        distance = self._view.sync_distance
        data = {
            "head_slot": str(self._view.head.head.slot),
            "sync_distance": str(distance),
            "is_syncing": distance > 0,
            "is_optimistic": self._view.is_optimistic,
            "el_offline": False,
        }
        return json_answer({"data": data})

    def health(self, question: Question) -> Answer:
        """200 without a body; 206 while syncing."""
        return Answer(206 if self._view.sync_distance or self._view.is_optimistic else 200)

    def peer_count(self, question: Question) -> Answer:
        """Nobody: there is no network."""
        names = ("disconnected", "connecting", "connected", "disconnecting")
        return json_answer({"data": dict.fromkeys(names, "0")})

    def peers(self, question: Question) -> Answer:
        """Nobody: there is no network."""
        return Answer(
            200,
            msgspec.json.encode({"data": [], "meta": {"count": 0}}),
            {"content-type": "application/json; charset=utf-8"},
        )
