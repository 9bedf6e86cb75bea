"""Channels that alerts are sent to. Their addresses come from the environment alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Self

from pydantic import Field, SecretStr, model_validator

from valmon_pipeline.alerting.kinds import Severity
from valmon_pipeline.alerting.templates import DEFAULTS, mistake_in
from valmon_pipeline.config.field_types import FieldType, NodeUrl, OneOf, WholeNumber, refuse
from valmon_pipeline.config.labels import AlertSubject, Switch
from valmon_pipeline.config.mistakes import Mistake, Place
from valmon_pipeline.config.secret_url import SecretUrl
from valmon_pipeline.config.section import Section
from valmon_pipeline.config.yaml_file import Document

HEARTBEAT: Final = "heartbeat"
"""The channel of the dead man's switch."""
_VARIABLE: Final = re.compile(r"VALMON_CHANNEL_(?P<name>[A-Z0-9_]+)_URL")
_PATH: Final = ("alerts", "channels")


class ChannelName(FieldType):
    """What a channel is called; part of the name of a variable."""

    @property
    def expected(self) -> str:
        return f"a name of lower-case letters, digits and _, at most 30 long, not {HEARTBEAT}"

    def parse(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,29}", value):
            self.refuse()
        if value == HEARTBEAT:
            self.refuse()
        return value


class ChannelAddress(FieldType):
    """An address for Apprise; secret as a whole, for tokens are all over it."""

    @property
    def expected(self) -> str:
        return "an address of Apprise's, in the environment"

    def written(self, value: object) -> object:
        return None if value is None else "…"

    def parse(self, value: object) -> SecretStr | None:
        if value is None or isinstance(value, SecretStr):
            return value
        if not isinstance(value, str):
            self.refuse()
        return SecretStr(value)


class TemplateText(FieldType):
    """A text with ``$fields``, or none."""

    @property
    def expected(self) -> str:
        return "a text with $fields, see [messages](alerts.md#messages)"

    def parse(self, value: object) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            self.refuse()
        problem = mistake_in(value)
        if problem is not None:
            refuse(f"the template has a mistake: {problem}")
        return value


class ChannelEntry(Section):
    """Who is told of what."""

    name: Annotated[str, ChannelName()]
    minimum_severity: Annotated[str, OneOf(tuple(Severity))] = Severity.INFO.value
    labels: tuple[Annotated[str, AlertSubject()], ...] = ()
    digest: Annotated[bool, Switch()] = False
    url: Annotated[SecretStr | None, ChannelAddress()] = None

    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        if self.url is None:
            refuse(
                f"channel {self.name} has no address: set {address_variable(self.name)} in the "
                "environment"
            )
        return self


class HeartbeatUrl(NodeUrl):
    """The address of a dead man's switch."""

    @property
    def expected(self) -> str:
        return "an address such as https://hc-ping.com/…, in the environment"


class HeartbeatSettings(Section):
    """A dead man's switch: a page that raises the alarm when nobody asks for it any more."""

    url: Annotated[SecretUrl | None, HeartbeatUrl()] = Field(
        None,
        description="Page that is asked for as long as alerts are evaluated and delivered (e.g. of "
        "healthchecks.io). It is a secret: set it in the environment.",
    )
    every_minutes: Annotated[int, WholeNumber(1, 1440)] = Field(
        5, description="Minutes between two of these requests."
    )


class TemplateSettings(Section):
    """Other texts of messages than the default ones."""

    opened: Annotated[str | None, TemplateText()] = Field(
        None, description="Title of what is told when an alert is opened."
    )
    worsened: Annotated[str | None, TemplateText()] = Field(
        None, description="Title of what is told when an alert becomes worse."
    )
    resolved: Annotated[str | None, TemplateText()] = Field(
        None, description="Title of what is told when an alert is over."
    )
    retracted: Annotated[str | None, TemplateText()] = Field(
        None, description="Title of what is told when an alert was not so."
    )
    body: Annotated[str | None, TemplateText()] = Field(
        None, description="What follows the title of each message."
    )

    @property
    def texts(self) -> Mapping[str, str]:
        """What is set, by the names of the defaults."""
        written = {name: getattr(self, name) for name in DEFAULTS}
        return {name: text for name, text in written.items() if text is not None}


def address_variable(name: str) -> str:
    """The variable that has a channel's address."""
    return f"VALMON_CHANNEL_{name.upper()}_URL"


def is_address_variable(variable: str) -> bool:
    """Whether a variable is one of a channel's address."""
    return _VARIABLE.fullmatch(variable) is not None


def overlay_addresses(document: Document, environ: Mapping[str, str]) -> None:
    """Give the channels of ``document`` their addresses from ``environ``.

    Addresses anywhere else are noted as mistakes and taken out, so that nothing prints them.
    """
    _refuse_written_heartbeat(document)
    names = set()
    for position, entry in _entries(document):
        path = (*_PATH, position)
        if entry.pop("url", None) is not None:
            problem = "addresses of channels belong in the environment: VALMON_CHANNEL_<NAME>_URL"
            document.mistakes.append(Mistake(document.place((*path, "url")), problem))
        name = entry.get("name")
        if isinstance(name, str):
            names.add(name.upper())
            entry["url"] = environ.get(address_variable(name), "").strip() or None
    for variable in sorted(environ):
        written = _VARIABLE.fullmatch(variable)
        if written and environ[variable].strip() and written["name"] not in names:
            problem = f"there is no channel {written['name'].lower()} in alerts.channels"
            document.mistakes.append(Mistake(Place(variable, variable=variable), problem))


def _refuse_written_heartbeat(document: Document) -> None:
    alerts = document.data.get("alerts")
    heartbeat = alerts.get("heartbeat") if isinstance(alerts, dict) else None
    if not isinstance(heartbeat, dict) or heartbeat.get("url") is None:
        return
    place = document.place(("alerts", "heartbeat", "url"))
    if place.variable is None:
        del heartbeat["url"]
        problem = "it belongs in the environment: VALMON_ALERTS__HEARTBEAT__URL"
        document.mistakes.append(Mistake(place, problem))


def _entries(document: Document) -> Iterator[tuple[int, dict[str, Any]]]:
    alerts = document.data.get("alerts")
    channels = alerts.get("channels") if isinstance(alerts, dict) else None
    for position, entry in enumerate(channels if isinstance(channels, list) else ()):
        if isinstance(entry, dict):
            yield position, entry
