"""What a node said about an epoch, as it is archived beside the rows made of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from valmon_pipeline.beacon.answer_archive import AnswerArchive
from valmon_pipeline.beacon.answer_keeper import AnswerKeeper
from valmon_pipeline.beacon.archive import ArchiveError
from valmon_pipeline.beacon.client import BeaconClient
from valmon_pipeline.beacon.subject import epoch_subject
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline.epoch.epoch_answers import EpochAnswers

logger = logging.getLogger(__name__)


def raw_answers(client: BeaconClient, spec: ChainSpec, answers: EpochAnswers) -> bytes | None:
    """The archive of an epoch that was just read; None if the client does not keep its answers.

    The reader shares the blocks and registries of neighbouring epochs: those of this epoch belong
    into its archive even if they were asked for because of another.
    """
    if not isinstance(client.archive, AnswerKeeper):
        return None
    canonical = answers.canonical
    boundaries = (spec.first_slot(answers.epoch), spec.first_slot(answers.epoch + 1))
    window = range(boundaries[0], spec.last_slot(answers.epoch + 1) + 1)
    roots = {f"0x{root.hex()}" for root in canonical.root}
    if canonical.parent_root is not None:
        roots.add(f"0x{canonical.parent_root.hex()}")
    # The first block after the window proves it, whatever its slot.
    slots = range(window.start, window.stop + spec.slots_per_epoch)
    blocks = {*map(str, slots), *roots}
    shared = {f"/eth/v1/beacon/headers/{block}" for block in blocks}
    shared |= {f"/eth/v2/beacon/blocks/{block}" for block in blocks}
    shared |= {f"/eth/v1/beacon/blinded_blocks/{block}" for block in blocks}
    shared |= {f"/eth/v1/beacon/states/{slot}/validators" for slot in boundaries}
    shared |= {
        f"/eth/v1/beacon/rewards/attestations/{answers.epoch - 1}",
        f"/eth/v1/beacon/rewards/attestations/{answers.epoch}",
    }
    shared |= {
        f"/eth/v1/beacon/rewards/{kind}/0x{canonical.root_at(slot).hex()}"
        for kind, slots in (
            ("blocks", answers.block_rewards),
            ("sync_committee", answers.sync_rewards),
        )
        for slot in slots
    }
    return client.archive.archive_of(epoch_subject(answers.epoch), shared)


def keep(archive: AnswerArchive, subject: str, raw: bytes, *, final: bool) -> None:
    """Archive what rows were made of; the rows are right without it, so failing only complains."""
    try:
        archive.write(subject, raw, final=final)
    except ArchiveError as error:
        logger.error("the answers about %s are not archived: %s", subject, error)


def confirm(archive: AnswerArchive, epochs: Iterable[int], proof: bytes) -> None:
    """Make the answers about epochs final that were archived provisionally; failing is logged."""
    for epoch in epochs:
        try:
            archive.confirm(epoch_subject(epoch), proof)
        except ArchiveError as error:
            logger.error("the answers about epoch %d are not archived: %s", epoch, error)
