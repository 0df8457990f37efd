"""kit.telemetry: one trace id from the edge to the last event, and logs that hold no secrets."""

import json
import re
import subprocess
import sys

import httpx
import pytest

from kit.telemetry import continue_trace
from tests.support import RunningStack, eventually

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_valid_traceparent_is_kept() -> None:
    assert continue_trace(GIVEN, "8f2ad1c3-7c1f-4a8e-9b7d-2f4a6d0a9e11") == GIVEN


@pytest.mark.parametrize(
    "header", ["", "nonsense", GIVEN.upper(), "00-" + "0" * 32 + "-00f067aa0ba902b7-01", GIVEN + "\n", "ff" + GIVEN]
)
def test_without_one_the_request_id_becomes_the_trace_id(header: str) -> None:
    trace = continue_trace(header, "8F2AD1C3-7c1f-4a8e-9b7d-2f4a6d0a9e11")
    assert trace.startswith("00-8f2ad1c37c1f4a8e9b7d2f4a6d0a9e11-")
    assert continue_trace(trace) == trace


@pytest.mark.parametrize("request_id", ["", "42", "00000000-0000-0000-0000-000000000000", "x" * 32])
def test_without_either_a_new_trace_begins(request_id: str) -> None:
    first, second = continue_trace("", request_id), continue_trace("", request_id)
    assert first != second
    assert continue_trace(first) == first


LOGGING = """
import logging
import structlog
from kit.settings import ProcessSettings
from kit.telemetry import configure, traceparent

configure("shop", ProcessSettings())
traceparent.set("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
log = structlog.get_logger()
log.debug("too_quiet")
log.info("sold", shelves=3)

def fails(password):
    raise ValueError("empty shelf")

try:
    fails("hunter2")
except ValueError as error:
    log.error("call_failed", exc_info=error)
logging.getLogger("library").warning("old-fashioned")
"""


def test_logs_are_json_lines_with_the_trace_and_without_local_variables() -> None:
    run = subprocess.run([sys.executable, "-c", LOGGING], capture_output=True, text=True, check=True)
    sold, failed = map(json.loads, run.stdout.splitlines())
    assert (sold["event"], sold["service"], sold["level"], sold["shelves"]) == ("sold", "shop", "info", 3)
    assert sold["trace_id"] == failed["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert "empty shelf" in json.dumps(failed)
    assert "hunter2" not in run.stdout
    library = json.loads(run.stderr)
    assert (library["event"], library["level"]) == ("old-fashioned", "warning")


@pytest.mark.parametrize("service", ["users", "orders", "payments"])
async def test_every_service_shows_its_metrics(service: str, stack: RunningStack) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(stack.metrics_urls[service])
    assert answer.status_code == 200
    assert "rpc_seconds_bucket" in answer.text
    assert "process_cpu_seconds_total" in answer.text


async def test_the_dispatcher_shows_what_waits_in_nats_for_workers(stack: RunningStack) -> None:
    async with httpx.AsyncClient() as client:

        async def shown() -> bool:
            answer = await client.get(stack.metrics_urls["dispatcher"])
            found = dict(re.findall(r'^bus_consumer_lag{consumer="(.+)"} (.+)$', answer.text, re.MULTILINE))
            return found.keys() == {"workers-orders", "workers-payouts"} and all(
                float(lag) >= 0 for lag in found.values()
            )

        await eventually(shown)
