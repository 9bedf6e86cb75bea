"""A replay node whose answers can be spoilt on their way, like a bad node or gateway would.

The true answer is asked of a second, unspoilt node, so that exactly one value of it is changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response

Spoil = Callable[[Any], Any]
"""Takes the decoded body of an answer, changes it in place or returns another one."""


@dataclass(slots=True)
class _Fault:
    path: re.Pattern[str]
    answer: Callable[[httpx.Response], Response]
    times: int | None
    hits: int = 0


@dataclass(slots=True)
class Faults:
    """The ``faults`` hook of a replay node. Requests for some validators get everybody's rows:
    the hook does not see what a POST asks for, and a client has to cope with more than it asked.
    """

    truth: httpx.Client
    _faults: list[_Fault] = field(default_factory=list)

    def __call__(self, request: Request) -> Response | None:
        """The spoilt answer to a request, or None if it is to be answered truly."""
        for fault in self._faults:
            if fault.path.fullmatch(request.url.path) and fault.times != fault.hits:
                fault.hits += 1
                return fault.answer(self._true_answer(request))
        return None

    @contextmanager
    def spoiling(self, path: str, spoil: Spoil, *, times: int | None = None) -> Iterator[None]:
        """Change the decoded body of answers whose path matches, the first ``times`` or all."""

        def answer(truth: httpx.Response) -> Response:
            body = truth.json()
            changed = spoil(body)
            content = json.dumps(body if changed is None else changed).encode()
            return _with_content(truth, content)

        with self._while(path, answer, times):
            yield

    @contextmanager
    def replacing(
        self, path: str, replace: Callable[[bytes], Response], *, times: int | None = None
    ) -> Iterator[None]:
        """Send what ``replace`` makes of the true body instead of answers whose path matches."""
        with self._while(path, lambda truth: replace(truth.content), times):
            yield

    @contextmanager
    def _while(
        self, path: str, answer: Callable[[httpx.Response], Response], times: int | None
    ) -> Iterator[None]:
        fault = _Fault(re.compile(path), answer, times)
        self._faults.append(fault)
        try:
            yield
        finally:
            self._faults.remove(fault)
        assert fault.hits, f"no request to {path} was spoilt"

    def _true_answer(self, request: Request) -> httpx.Response:
        if request.method == "GET":
            return self.truth.get(str(request.url.path), params=str(request.url.query))
        everybody: Any = {} if request.url.path.endswith("/validators") else []
        return self.truth.post(request.url.path, json=everybody)


def _with_content(truth: httpx.Response, content: bytes) -> Response:
    headers = {
        name: value
        for name, value in truth.headers.items()
        if name == "content-type" or name.startswith("eth-")
    }
    return Response(content, truth.status_code, headers)
