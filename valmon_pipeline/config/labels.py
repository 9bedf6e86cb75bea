"""Labels, categories and switches as settings."""

from __future__ import annotations

import re
from typing import Final

from valmon_pipeline.config.field_types import FieldType

PARTS: Final = ("node", "data", "pipeline")
"""Parts of valmon that alerts can be about."""


class Label(FieldType):
    """A label as ``category:value``."""

    @property
    def expected(self) -> str:
        return "a label such as operator:a"

    def parse(self, value: object) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str) or not re.fullmatch(r"[^:\s][^:]*:\S.*", value):
            self.refuse()
        return value


class AlertSubject(FieldType):
    """What alerts can be about: a label as ``category:value``, a validator, a part of valmon."""

    @property
    def expected(self) -> str:
        return f"a label such as operator:a, or {', '.join(PARTS)}"

    def parse(self, value: object) -> str:
        if not isinstance(value, str):
            self.refuse()
        if value not in PARTS and not re.fullmatch(r"[^:\s][^:]*:\S.*", value):
            self.refuse()
        return value


class Category(FieldType):
    """The category of a label."""

    @property
    def expected(self) -> str:
        return "the category of a label, such as operator"

    def parse(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[^:\s][^:]*", value):
            self.refuse()
        return value


class Switch(FieldType):
    """True or false."""

    @property
    def expected(self) -> str:
        return "true or false"

    def parse(self, value: object) -> bool:
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        if not isinstance(value, bool):
            self.refuse()
        return value


class WebAddress(FieldType):
    """The address of a page, without anything secret."""

    @property
    def expected(self) -> str:
        return "an address such as https://valmon.example.org"

    def parse(self, value: object) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str) or not re.fullmatch(r"https?://[^\s@]+", value):
            self.refuse()
        return value
