"""What a writing request may say beside its body: dependencies that the routes declare, and that document them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Query, Request


async def if_match(
    request: Request,
    if_match: Annotated[
        str | None, Header(description="Change the item only if it still is this version, the ETag of an answer")
    ] = None,
) -> None:
    """The version that a change was made to."""
    request.state.if_match = if_match


async def preferred(
    request: Request,
    prefer: Annotated[
        str, Header(description="`return=representation` to be answered with the changed item (RFC 7240)")
    ] = "",
) -> None:
    """Whether the answer is to show what was made of the item."""
    wishes = {wish.partition(";")[0].replace(" ", "").lower() for wish in prefer.split(",")}
    request.state.shown = "return=representation" in wishes


async def validated(
    request: Request,
    *,
    validate_extensions: Annotated[
        bool, Query(description="Hold the items against the schemas of the extensions that they name")
    ] = False,
) -> None:
    """Whether items are to be held against the schemas of their extensions."""
    request.state.validate_extensions = validate_extensions


async def forced(
    request: Request,
    *,
    force: Annotated[bool, Query(description="Delete the collection's items and their files with it")] = False,
) -> None:
    """Whether a collection goes with what it holds."""
    request.state.force = force
