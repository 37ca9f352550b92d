"""The scope of a key, as the policy document that the storage enforces."""

from typing import Any

import pytest

from rs_server.storage.credentials import Scope, policy


def actions(document: dict[str, Any], resource: str) -> set[str]:
    return {
        action
        for statement in document["Statement"]
        if any(resource == named for named in statement["Resource"])
        for action in statement["Action"]
    }


def test_reading_opens_the_prefix_and_no_more() -> None:
    document = policy(["b"], Scope(read=("alice/in/",)))
    assert actions(document, "arn:aws:s3:::b/alice/in/*") == {"s3:GetObject"}
    assert {resource for statement in document["Statement"] for resource in statement["Resource"]} == {
        "arn:aws:s3:::b/alice/in/*",
        "arn:aws:s3:::b",
    }


def test_every_bucket_is_opened_at_the_same_places() -> None:
    document = policy(["l0", "b"], Scope(write=("alice/out/",)))
    assert actions(document, "arn:aws:s3:::l0/alice/out/*") == actions(document, "arn:aws:s3:::b/alice/out/*")
    assert "s3:PutObject" in actions(document, "arn:aws:s3:::l0/alice/out/*")


def test_listing_is_limited_to_the_prefixes() -> None:
    document = policy(["b"], Scope(read=("alice/in/",), write=("alice/out/",)))
    (listing,) = [statement for statement in document["Statement"] if "s3:ListBucket" in statement["Action"]]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["alice/in/*", "alice/out/*"]}}


def test_writing_does_not_reach_what_is_only_read() -> None:
    document = policy(["b"], Scope(read=("alice/in/",), write=("alice/out/",)))
    assert "s3:PutObject" not in actions(document, "arn:aws:s3:::b/alice/in/*")
    assert {"s3:PutObject", "s3:DeleteObject", "s3:GetObject"} <= actions(document, "arn:aws:s3:::b/alice/out/*")


@pytest.mark.parametrize("prefix", ["", "alice", "/", "/alice/", "ali*/", "a?/", "${aws:username}/"])
def test_prefixes_that_would_open_more_are_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        Scope(read=(prefix,))
