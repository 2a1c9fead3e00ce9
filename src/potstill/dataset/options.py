"""Section ``dataset`` of the config."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from potstill.core.section import Section


class SplitConfig(Section):
    """Section ``dataset``: the split of families into train, valid and test."""

    valid_fraction: Annotated[float, Field(ge=0, lt=1, description="share of the families held out for validation")] = 0.05
    test_fraction: Annotated[float, Field(ge=0, lt=1, description="share of the families held out for testing")] = 0.1

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> SplitConfig:
        if self.valid_fraction + self.test_fraction >= 1:
            raise ValueError("valid_fraction + test_fraction must be below 1: nothing is left to train on")
        return self
