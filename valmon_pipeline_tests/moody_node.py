"""Replay nodes with moods: behind, syncing, of another network, flapping, or failing at random."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from starlette.requests import Request
from starlette.responses import Response

from valmon_pipeline.beacon.client import NodeOptions
from valmon_pipeline.beacon.transports.retry import RetryPolicy
from valmon_pipeline.devnet.recording import Recording
from valmon_pipeline.devnet.replay_node import BackgroundReplayNode, ReplayNode

SYNCING: Final = "/eth/v1/node/syncing"
GENESIS: Final = "/eth/v1/beacon/genesis"
SPEC: Final = "/eth/v1/config/spec"
QUICK: Final = RetryPolicy(attempts=2, first_wait=0.001, longest_wait=0.002)


@dataclass(slots=True)
class Mood:
    """What is wrong with a node at the moment.

    ``changed``: path of an answer to the fields that are different in its data. ``refused``: path
    to the status it is refused with, ``words`` the message. ``failing``: the share of answers that
    are 429, 503 or cut off, by the seeded ``dice``.
    """

    truth: httpx.Client
    changed: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    everything_refused: int | None = None
    words: str = "not now"
    failing: float = 0.0
    dice: random.Random = field(default_factory=lambda: random.Random(7))
    requests: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def __call__(self, request: Request) -> Response | None:
        """The ``faults`` hook of a replay node."""
        path = request.url.path
        self.requests[path] += 1
        status = self.everything_refused or self.refused.get(path)
        if status is not None:
            words = json.dumps({"message": self.words})
            return Response(words, status, media_type="application/json")
        if self.dice.random() < self.failing:
            return self._failure(request)
        if path in self.changed:
            body = self.truth.get(path).json()
            body["data"].update(self.changed[path])
            return Response(json.dumps(body), media_type="application/json")
        return None

    def _failure(self, request: Request) -> Response:
        kind = self.dice.choice(["429", "503", "cut off"])
        self.failed[kind] += 1
        if kind != "cut off":
            return Response("", int(kind))
        path = request.url.path
        if request.method == "GET":
            content = self.truth.get(path, params=str(request.url.query)).content
        else:
            content = b'{"data":[{"validator_index":"0","reward":"1"},{"validator_index"'
        return Response(content[: len(content) // 2], media_type="application/json")


@contextmanager
def moody_node(recording: Recording, true_node_url: str) -> Iterator[tuple[str, Mood]]:
    """A node that is in a good mood at first: yields its address with what to change."""
    with httpx.Client(base_url=true_node_url, trust_env=False) as truth:
        mood = Mood(truth)
        with BackgroundReplayNode(ReplayNode(recording, faults=mood)) as node:
            yield node.url, mood


def options(url: str, retry: RetryPolicy = QUICK) -> NodeOptions:
    """A node that is asked as fast as it can answer."""
    return NodeOptions(url, requests_per_second=1e6, burst=100_000, retry=retry)
