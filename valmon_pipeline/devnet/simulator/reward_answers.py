"""Answers about attestation rewards."""

from __future__ import annotations

import msgspec
import numpy as np

from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.devnet.answer import Answer, RefusalError
from valmon_pipeline.devnet.question import Question, natural
from valmon_pipeline.devnet.simulator import rewards
from valmon_pipeline.devnet.simulator.epoch_processing import RewardedEpoch
from valmon_pipeline.devnet.simulator.node_view import NodeView
from valmon_pipeline.devnet.simulator.state import Int64Array


class RewardAnswers:
    """Answers to ``/eth/v1/beacon/rewards/attestations/{epoch}``."""

    def __init__(self, view: NodeView) -> None:
        self._view = view
        self._parameters = view.simulation.parameters

    def attestations(self, question: Question) -> Answer:
        """Attestation rewards of a target epoch; there once the epoch after it is over."""
        epoch = natural(question.parameters["epoch"], "epoch")
        last_slot = self._parameters.first_slot(epoch + 2) - 1
        rewarded = self._view.simulation.history.rewarded.get(epoch)
        if rewarded is None or last_slot >= self._view.head.slot:
            raise RefusalError(404, f"State is unavailable for slot {last_slot}")
        ids = question.listed_ids()
        rows = np.flatnonzero(rewarded.deltas.eligible)
        if ids:
            named = [self._view.index(an_id) for an_id in ids]
            wanted = np.array([index for index in named if index is not None], np.int64)
            rows = rows[np.isin(rows, wanted)]
        data = {
            "ideal_rewards": self._ideal_rows(rewarded),
            "total_rewards": _total_rows(rewarded, rows),
        }
        return self._view.answer(data, last_slot)

    def _ideal_rows(self, rewarded: RewardedEpoch) -> list[dict[str, str]]:
        parameters = self._parameters
        limit = parameters.max_effective_balance
        if parameters.fork_at(rewarded.epoch + 1) >= Fork.ELECTRA:
            limit = parameters.max_effective_balance_electra
        increment = parameters.effective_balance_increment
        balances = np.arange(0, limit + increment, increment)
        source, target, head = (
            rewards.flag_reward(parameters, rewarded.participation, balances, flag).tolist()
            for flag in (rewards.TIMELY_SOURCE, rewards.TIMELY_TARGET, rewards.TIMELY_HEAD)
        )
        return [
            {
                "head": str(head[row]),
                "target": str(target[row]),
                "source": str(source[row]),
                "inclusion_delay": "0",
                "inactivity": "0",
                "effective_balance": str(balance),
            }
            for row, balance in enumerate(balances.tolist())
        ]


def _total_rows(rewarded: RewardedEpoch, rows: Int64Array) -> list[msgspec.Raw]:
    deltas = rewarded.deltas
    columns = zip(
        rows.tolist(),
        *(
            column[rows].tolist()
            for column in (deltas.source, deltas.target, deltas.head, deltas.inactivity)
        ),
        strict=True,
    )
    return [
        msgspec.Raw(
            (
                f'{{"head":"{head}","target":"{target}","source":"{source}","inclusion_delay":"0",'
                f'"inactivity":"{inactivity}","validator_index":"{index}"}}'
            ).encode()
        )
        for index, source, target, head, inactivity in columns
    ]
