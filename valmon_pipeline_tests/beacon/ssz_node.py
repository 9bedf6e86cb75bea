"""A node that answers blocks in SSZ to whoever accepts that, in front of one that has only JSON."""

from __future__ import annotations

import json

import httpx

from valmon_pipeline.chain.forks import Fork
from valmon_pipeline.chain.spec import ChainSpec
from valmon_pipeline_tests.beacon.ssz_blocks import signed_block


class SszBlocksTransport(httpx.AsyncBaseTransport):
    """Passes requests on, and serializes the blocks of the answers. ``accepted`` lists what the
    requests for blocks accepted."""

    def __init__(self, spec: ChainSpec, inner: httpx.AsyncBaseTransport) -> None:
        self._spec = spec
        self._inner = inner
        self.accepted: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        kind = request.url.path.split("/")[4]
        if kind not in ("blocks", "blinded_blocks"):
            return response
        accept = request.headers["accept"]
        self.accepted.append(accept)
        if response.status_code != httpx.codes.OK or "application/octet-stream" not in accept:
            return response
        answer = json.loads(await response.aread())
        fork = Fork[answer["version"].upper()]
        block = signed_block(self._spec, fork, blinded=kind == "blinded_blocks")
        return httpx.Response(
            200,
            headers={
                "content-type": "application/octet-stream",
                "eth-consensus-version": answer["version"],
            },
            content=block.serialize(answer["data"]),
        )

    async def aclose(self) -> None:
        await self._inner.aclose()
