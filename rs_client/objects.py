"""Zarr in object storage whose refusals are errors of ours, on the workers of a cluster as in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from zarr.storage import ObjectStore

from rs_client.errors import AuthExpired, Forbidden, Invalid, NotFound, RsError, ServiceUnavailable

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype


class Objects(ObjectStore[Any]):
    """A store of ``obstore`` for Zarr; what it cannot give, as it is read, raises ``AuthExpired``, ``Forbidden`` or
    ``ServiceUnavailable``."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """The octets of an object, or a range of them; ``None`` if there is no such object. Raises as ``given``."""
        with given(key):
            return await super().get(key, prototype, byte_range)


@contextmanager
def given(what: str) -> Iterator[None]:
    """What the object storage refuses within this, as an error of ours that names ``what``.

    Raises ``AuthExpired`` where no next key was to be had, ``Forbidden`` where the key does not open it, and
    ``ServiceUnavailable`` when the storage is away.
    """
    try:
        yield
    except UnauthenticatedError as error:
        raise AuthExpired(
            f"the storage gives {what} no more: {_reason(error)}",
            hint="keep the session that opened it until the work is done, or open the item again",
        ) from error
    except PermissionDeniedError as error:
        raise Forbidden(
            f"the storage key does not open {what}: {_reason(error)}", hint="open the item again"
        ) from error
    except BaseError as error:
        raise ServiceUnavailable(f"the object storage does not give {what}: {_reason(error)}") from error


@contextmanager
def opening(product: str) -> Iterator[None]:
    """What goes wrong while a product is opened within this, as an error of ours.

    Raises ``NotFound`` when it is not there, ``Invalid`` when it is no Zarr, and ``AuthExpired``, ``Forbidden`` and
    ``ServiceUnavailable`` as ``given``.
    """
    try:
        with given(product):
            yield
    except RsError:
        raise
    except FileNotFoundError as error:
        raise NotFound(
            f"{product} is not in the storage", hint="it may have expired; look whether the catalog has its item still"
        ) from error
    except (ValueError, KeyError) as error:
        raise Invalid(f"{product} cannot be read: {_reason(error)}", hint="make or stage it again") from error


def _reason(error: Exception) -> str:
    """The first line of what an error says: those of the storage go on with its inside."""
    return str(error).partition("\n")[0][:300]
