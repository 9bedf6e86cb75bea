"""The kinds of value a setting can have; each knows how to say what it expects.

They are pydantic annotations (``Annotated[int, WholeNumber(1, 256)]``). File values arrive typed
by YAML, values of the environment as text, so numbers written as text are read, while booleans
and fractions are never taken for whole numbers.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from valmon_pipeline.config.secret_url import SecretUrl, is_url_of

_ESCAPES = "; in a password write % as %25, @ as %40, : as %3A, / as %2F, # as %23 and ? as %3F"


def refuse(problem: str) -> NoReturn:
    """Refuse the value at hand; ``problem`` is a sentence for the operator, without the value."""
    raise PydanticCustomError("valmon", "{problem}", {"problem": problem})


def _escapes_for(address: str) -> str:
    return _ESCAPES if "@" in address else ""


class FieldType(ABC):
    """A kind of value: ``parse`` returns it or refuses with what would have been right."""

    @property
    @abstractmethod
    def expected(self) -> str:
        """What is accepted, to be read after the word "expected"."""

    @abstractmethod
    def parse(self, value: object) -> object:
        """Return the setting's value for what was written, or refuse it."""

    def written(self, value: object) -> object:
        """Return a parsed value as it could be written in a file."""
        return value

    def refuse(self) -> NoReturn:
        """Refuse the value for being of another kind."""
        refuse(f"expected {self.expected}")

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate with ``parse`` alone; serialise what it returned with ``written``."""
        return core_schema.no_info_plain_validator_function(
            self.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(self.written),
        )


@dataclass(frozen=True, slots=True)
class WholeNumber(FieldType):
    """An integer from ``minimum`` to ``maximum``, both included."""

    minimum: int
    maximum: int

    @property
    def expected(self) -> str:
        return f"a whole number from {self.minimum} to {self.maximum}"

    def parse(self, value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,20}", value.strip()):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse()
        if not self.minimum <= value <= self.maximum:
            self.refuse()
        return value


@dataclass(frozen=True, slots=True)
class RetentionDays(FieldType):
    """A number of days, or ``forever`` (None)."""

    days: WholeNumber = WholeNumber(1, 36_500)

    @property
    def expected(self) -> str:
        return f"{self.days.expected}, or forever"

    def written(self, value: object) -> object:
        return "forever" if value is None else value

    def parse(self, value: object) -> int | None:
        if value is None or (isinstance(value, str) and value.strip().lower() == "forever"):
            return None
        try:
            return self.days.parse(value)
        except PydanticCustomError:
            self.refuse()


@dataclass(frozen=True, slots=True)
class StartEpoch(FieldType):
    """An epoch, or ``newest`` (None)."""

    epochs: WholeNumber = WholeNumber(0, 2**31 - 1)

    @property
    def expected(self) -> str:
        return f"{self.epochs.expected}, or newest"

    def written(self, value: object) -> object:
        return "newest" if value is None else value

    def parse(self, value: object) -> int | None:
        if value is None or (isinstance(value, str) and value.strip().lower() == "newest"):
            return None
        try:
            return self.epochs.parse(value)
        except PydanticCustomError:
            self.refuse()


@dataclass(frozen=True, slots=True)
class Number(FieldType):
    """A finite number from ``minimum`` to ``maximum``, both included."""

    minimum: float
    maximum: float
    unit: str = ""

    @property
    def expected(self) -> str:
        unit = f" of {self.unit}" if self.unit else ""
        return f"a number{unit} from {self.minimum:g} to {self.maximum:g}"

    def parse(self, value: object) -> float:
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                self.refuse()
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.refuse()
        if not math.isfinite(value) or not self.minimum <= value <= self.maximum:
            self.refuse()
        return float(value)


@dataclass(frozen=True, slots=True)
class OneOf(FieldType):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        return " or ".join(self.words)

    def parse(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.words:
            self.refuse()
        return value


@dataclass(frozen=True, slots=True)
class CalendarDate(FieldType):
    """A day written as YYYY-MM-DD, ``earliest`` or later."""

    earliest: date

    @property
    def expected(self) -> str:
        return f"a date such as 2020-12-01, not before {self.earliest.isoformat()}"

    def written(self, value: object) -> object:
        return value.isoformat() if isinstance(value, date) else value

    def parse(self, value: object) -> date:
        if isinstance(value, str):
            # fromisoformat alone would also take 20201201 and 2020-W49-2
            if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value.strip()):
                self.refuse()
            try:
                value = date.fromisoformat(value.strip())
            except ValueError:  # a 30th of February
                self.refuse()
        if type(value) is not date or value < self.earliest:  # a datetime is a date, too
            self.refuse()
        return value


class SchemaName(FieldType):
    """A PostgreSQL schema name that needs no quoting and is not one of PostgreSQL's own."""

    @property
    def expected(self) -> str:
        return (
            "a name of lower-case letters, digits and _, starting with a letter, "
            "at most 40 long, not public and not beginning with pg_"
        )

    def parse(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", value):
            self.refuse()
        if value.startswith("pg_") or value in ("public", "information_schema"):
            self.refuse()
        return value


class HomeDirectory(FieldType):
    """An absolute directory; ``~`` is the user's home."""

    def written(self, value: object) -> object:
        return str(value)

    @property
    def expected(self) -> str:
        return "an absolute path, or one beginning with ~"

    def parse(self, value: object) -> Path:
        if not isinstance(value, str | Path) or not str(value).strip():
            self.refuse()
        try:
            directory = Path(value).expanduser()
        except RuntimeError:  # ~somebody who does not exist
            self.refuse()
        if not directory.is_absolute():
            self.refuse()
        return directory


class UrlType(FieldType):
    """An address; only its recognisable part is ever written out again."""

    def written(self, value: object) -> object:
        return None if value is None else str(value)


class NodeUrl(UrlType):
    """The address of a beacon node's API."""

    @property
    def expected(self) -> str:
        return "an address such as http://localhost:5052, with http:// or https://"

    def parse(self, value: object) -> SecretUrl:
        if isinstance(value, SecretUrl):
            return value
        if not isinstance(value, str) or not value.startswith(("http://", "https://")):
            self.refuse()
        if not is_url_of(value, ("http", "https")) or str(SecretUrl(value)).startswith("…"):
            refuse(f"expected {self.expected}{_escapes_for(value)}")
        return SecretUrl(value)


class DatabaseUrl(UrlType):
    """The address of a PostgreSQL database."""

    @property
    def expected(self) -> str:
        return "an address such as postgresql://user:password@host:5432/database"

    def parse(self, value: object) -> SecretUrl:
        if isinstance(value, SecretUrl):
            return value
        schemes = ("postgresql", "postgres", "postgresql+psycopg")
        if not isinstance(value, str) or value.partition("://")[0] not in schemes:
            self.refuse()
        if not is_url_of(value, schemes):
            refuse(f"expected {self.expected}{_escapes_for(value)}")
        return SecretUrl(value)


class ArchiveUrl(UrlType):
    """A directory, or the address of one that fsspec can open."""

    @property
    def expected(self) -> str:
        return "an absolute path, or an address such as s3://bucket/directory"

    def parse(self, value: object) -> SecretUrl:
        if isinstance(value, SecretUrl):
            return value
        if not isinstance(value, str) or not value.strip():
            self.refuse()
        if "://" in value:
            scheme = value.partition("://")[0]
            if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) or re.search(r"\s", value):
                self.refuse()
            return SecretUrl(value)
        return SecretUrl(HomeDirectory().parse(value).as_uri())
