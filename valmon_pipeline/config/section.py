"""What all groups of keys have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A group of keys; a key without a value means its default, an unknown key is refused."""

    # pydantic's own error text would quote input, and with it a password in an address
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: written for key, written in value.items() if written is not None}
