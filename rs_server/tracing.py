"""Traces: spans that join what one request brings about, through the queue and whichever workers, to one story.

Without a collector in the settings nothing is recorded; the ids are handed on all the same, so that logs can be joined.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_FORM = TraceContextTextMapPropagator()
_HEADER = "traceparent"


def configure(service: str, collector: str | None) -> None:
    """Send the spans of this process to a collector (OTLP over HTTP, e.g. ``http://host:4318``), if there is one.

    A collector that is away costs nothing but its spans: they wait in a bounded queue, and are dropped.
    """
    if collector is None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    exporter = OTLPSpanExporter(f"{collector.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    trace.set_tracer_provider(provider)


@contextmanager
def span(name: str, parent: str | None = None, **attributes: str | int) -> Iterator[Span]:
    """A span of the trace that ``parent`` belongs to (a W3C traceparent), else of the one under way."""
    context = _FORM.extract({_HEADER: parent}) if parent else None
    tracer = trace.get_tracer("rs_server")
    with tracer.start_as_current_span(name, context=context, attributes=attributes) as started:
        yield started


@contextmanager
def leaf(name: str, **attributes: str | int) -> Iterator[Span]:
    """A span of what is under way that nothing is under: it may be held over the pauses of a generator."""
    started = trace.get_tracer("rs_server").start_span(name, attributes=attributes)
    try:
        yield started
    finally:
        started.end()


def current() -> str | None:
    """The traceparent of what is under way, for those who go on with it elsewhere."""
    carrier: dict[str, str] = {}
    _FORM.inject(carrier)
    return carrier.get(_HEADER)
