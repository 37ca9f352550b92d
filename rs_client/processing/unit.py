"""What the processing units of this package have in common: one input, one output, no auxiliary file, one mode."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import xarray as xr
from eopf.computing.abstract import EOProcessingUnit
from eopf.computing.types import MappingAuxiliary, MappingDataType

from rs_client.processing.errors import BadPayload


class Unit(EOProcessingUnit):
    """An EOPF processing unit that makes one product of one input."""

    INPUT: ClassVar[str]
    OUTPUT: ClassVar[str]
    # A contract is a JSON file that lists products by name; which ones come in here is not known beforehand.
    PROCESSOR_CONTRACT = False

    @classmethod
    def get_mandatory_input_list(cls, mode: str | None = None, **kwargs: Any) -> list[str]:  # noqa: ARG003 - eopf's
        """The name of the input."""
        return [cls.INPUT]

    @classmethod
    def get_provided_output_list(cls, mode: str | None = None, **kwargs: Any) -> list[str]:  # noqa: ARG003 - eopf's
        """The name of the output."""
        return [cls.OUTPUT]

    def run(
        self,
        inputs: MappingDataType,
        adfs: MappingAuxiliary | None = None,  # noqa: ARG002 - eopf's
        mode: str | None = None,  # noqa: ARG002 - eopf's
        **kwargs: Any,
    ) -> dict[str, xr.DataTree]:
        """Make the product, by its name; for the parameters, and what is raised, see ``make``."""
        return {self.OUTPUT: self.make(inputs[self.INPUT], **kwargs)}

    @abstractmethod
    def make(self, source: Any, **parameters: Any) -> xr.DataTree:
        """Make the product of the input; ``name`` is among the parameters. Raises a ``ProcessingFailed``."""

    def one(self, source: Any) -> xr.DataTree:
        """The input, which must be one product. Raises ``BadPayload``."""
        if not isinstance(source, xr.DataTree):
            raise BadPayload(f"the input {self.INPUT} must be one product")
        return source
