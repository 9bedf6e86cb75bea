"""Answers about the node and the network: clock, identity, specification, health."""

from __future__ import annotations

import msgspec

from valmon_pipeline.devnet.answer import Answer, NotRecordedError, json_answer, with_body
from valmon_pipeline.devnet.answerer import Answerer
from valmon_pipeline.devnet.clock import LiveClock
from valmon_pipeline.devnet.question import Question


class NodeAnswers(Answerer):
    """Answers that do not depend on a state or block."""

    def spec(self, question: Question) -> Answer:
        """The specification as recorded; another speed changes the slot duration."""
        answer = self.recorded("/eth/v1/config/spec")
        clock = self.view.clock
        if (
            not isinstance(clock, LiveClock)
            or clock.slot_duration_ms == self.recording.slot_duration_ms
        ):
            return answer
        spec = {**self.recording.spec, "SLOT_DURATION_MS": str(clock.slot_duration_ms)}
        seconds, rest = divmod(clock.slot_duration_ms, 1000)
        if rest:
            spec.pop("SECONDS_PER_SLOT", None)
        elif "SECONDS_PER_SLOT" in spec:
            spec["SECONDS_PER_SLOT"] = str(seconds)
        return with_body(answer, msgspec.json.encode({"data": spec}))

    def genesis(self, question: Question) -> Answer:
        """Genesis; in live mode its time is shifted so that the chain runs now."""
        answer = self.recorded("/eth/v1/beacon/genesis")
        clock = self.view.clock
        if not isinstance(clock, LiveClock):
            return answer
        genesis = msgspec.json.decode(answer.body)
        genesis["data"]["genesis_time"] = str(clock.genesis_time)
        return with_body(answer, msgspec.json.encode(genesis))

    def syncing(self, question: Question) -> Answer:
        """Sync status: always synced, the head being the clock's."""
        block = self.view.head_block()
        return json_answer(
            {
                "data": {
                    "head_slot": str(block.slot if block else 0),
                    "sync_distance": "0",
                    "is_syncing": False,
                    "is_optimistic": False,
                    "el_offline": False,
                }
            }
        )

    def health(self, question: Question) -> Answer:
        """Healthy, without a body."""
        return Answer(200)

    def other(self, question: Question) -> Answer:
        """Anything else, if exactly that was recorded."""
        answer = self.exact(question, question.path)
        if answer is None:
            raise NotRecordedError(question.path)
        return answer
