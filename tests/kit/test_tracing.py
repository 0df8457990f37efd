"""kit.tracing: a span of each hop of what is sampled, and nothing at all where nobody is to see it."""

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator

import pytest

from kit import telemetry, tracing
from kit.events import Event
from kit.settings import ProcessSettings
from kit.telemetry import continue_trace
from tests.collector import Collector

SAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as collector:
        yield collector


def event(traceparent: str) -> Event:
    return Event("019d3b0e-0000-7000-8000-000000000001", "orders.created", b"tea", traceparent)


async def test_a_hop_of_many_events_is_a_span_of_each_sampled_trace_and_no_other(collector: Collector) -> None:
    with tracing.exported("shop", ProcessSettings(otlp_endpoint=collector.url)):
        events = [event(UNSAMPLED), event(SAMPLED), event("")]
        with (
            tracing.hop("publish", "PRODUCER", events) as passed,
            tracing.hop("process", "CONSUMER", passed) as handled,
        ):
            assert (handled[0], handled[2]) == (events[0], events[2])
            assert (handled[1].id, handled[1].payload) == (events[1].id, events[1].payload)
        with pytest.raises(ValueError, match="secret"), tracing.hop("process", "CONSUMER", passed):
            raise ValueError("secret")
        await asyncio.to_thread(tracing.end_export)
    assert collector.parents(SAMPLED[3:35]) == {
        ("shop", "publish orders.created"): SAMPLED[36:52],
        ("shop", "process orders.created"): ("shop", "publish orders.created"),
    }
    assert len(collector.hops) == 3
    processed = [hop for hop in collector.hops if hop.name == "process orders.created"]
    assert [(hop.attributes.get("outcome"), hop.failed) for hop in processed] == [(None, False), ("ValueError", True)]
    assert handled[1].traceparent[36:52] in {hop.span_id for hop in collector.hops}


async def test_a_trace_that_begins_here_has_a_first_span_and_the_id_that_was_told(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "_sampled_share", 0.5)
    begun = [continue_trace("", request_id) for _ in range(100) for request_id in ("", str(uuid.uuid4()))]
    sampled = [header for header in begun if telemetry.is_sampled(header)]
    assert 50 < len(sampled) < 150
    with tracing.exported("shop", ProcessSettings(otlp_endpoint=collector.url)):
        for header in begun:
            with tracing.span("task", header, "CONSUMER"):
                pass
        await asyncio.to_thread(tracing.end_export)
    assert {hop.trace_id for hop in collector.hops} == {header[3:35] for header in sampled}
    assert {hop.parent_id for hop in collector.hops} == {""}


NOTHING = """
import sys
from kit import bus, rpc, tracing
from kit.settings import ProcessSettings
with tracing.exported("shop", ProcessSettings()):
    assert tracing.begin("sale", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "SERVER") is None
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_without_a_collector_nothing_of_opentelemetry_is_imported() -> None:
    run = subprocess.run([sys.executable, "-c", NOTHING], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
