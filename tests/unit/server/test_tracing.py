"""A trace goes on where it is taken up, also while nothing is recorded."""

from rs_server import tracing

PARENT = f"00-{'ab' * 16}-{'cd' * 8}-01"


def test_what_is_under_way_names_its_trace() -> None:
    assert tracing.current() is None
    with tracing.span("a request", PARENT, number=1):
        here = tracing.current()
        with tracing.leaf("a part of it"):
            assert tracing.current() == here
    assert here is not None
    assert here.split("-")[1] == "ab" * 16
    assert tracing.current() is None
