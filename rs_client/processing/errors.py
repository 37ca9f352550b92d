"""What can go wrong in processing; importable without any of the numeric packages, so that errors travel anywhere."""

from __future__ import annotations


class ProcessingFailed(RuntimeError):
    """A processing unit cannot make its product; the message says in one sentence what and why."""


class BadPayload(ProcessingFailed):
    """The order itself is wrong: a field is missing, or an input cannot be what it is said to be."""


class InputUnreadable(ProcessingFailed):
    """An input is missing, shorter than announced, or not to be read with the credentials given."""


class NothingFound(ProcessingFailed):
    """The inputs hold no packet at all, so that there is no product to make."""


class OutputRefused(ProcessingFailed):
    """The product could not be written where it was ordered."""
