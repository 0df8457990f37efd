"""deploy/observability: what rules and dashboards ask for is there, and for each alert somebody knows what to do."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import promql_parser as promql
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from stack.home import CHECKOUT
from tests.support import RunningStack

FOLDER = CHECKOUT / "deploy" / "observability"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
PANELS: list[dict[str, Any]] = [
    panel for file in sorted(FOLDER.glob("dashboards/*.json")) for panel in json.loads(file.read_text())["panels"]
]
OF_PROMETHEUS = {"up"}
"""What it knows by itself."""
COMPOSE = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())


async def test_rules_and_dashboards_ask_for_metrics_that_our_processes_have(stack: RunningStack) -> None:
    ports = json.loads((stack.home / "config.json").read_text())["ports"]
    names, buckets = set(OF_PROMETHEUS), set()
    async with httpx.AsyncClient() as client:
        for name in (name for name in ports if name.endswith("-metrics") and name != "worker-orders-metrics"):
            text = (await client.get(f"http://127.0.0.1:{ports[name]}/metrics")).text
            for family in text_string_to_metric_families(text):
                ends = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
                names |= {family.name + end for end in ends}
                buckets |= {(family.name, sample.labels["le"]) for sample in family.samples if "le" in sample.labels}
    names |= {rule["record"] for rule in RULES if "record" in rule}
    asked = [selector for text in _expressions() for selector in _selectors(text)]

    assert len(asked) > 50
    assert {selector.name for selector in asked} - names == set()
    limits = {
        (str(selector.name).removesuffix("_bucket"), matcher.value)
        for selector in asked
        for matcher in selector.matchers.matchers
        if matcher.name == "le"
    }
    assert limits
    assert limits - buckets == set()


@pytest.mark.parametrize("alert", ALERTS, ids=[rule["alert"] for rule in ALERTS])
def test_an_alert_says_how_urgent_it_is_and_where_its_runbook_is(alert: dict[str, Any]) -> None:
    file, _, anchor = alert["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (\w+)$", (CHECKOUT / file).read_text(), re.MULTILINE)

    assert alert["labels"]["severity"] in ("page", "ticket")
    assert anchor in [heading.lower() for heading in headings]
    assert alert["alert"].lower().startswith(anchor)


def test_every_process_with_metrics_is_read() -> None:
    [job] = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    ours = {name for name, one in COMPOSE["services"].items() if "GOZON_METRICS_PORT" in one.get("environment", {})}

    assert set(job["dns_sd_configs"][0]["names"]) == ours


def test_dashboards_use_the_sources_that_grafana_is_given_and_containers_the_files_that_are_there() -> None:
    sources = {one["uid"] for one in yaml.safe_load((FOLDER / "grafana.yaml").read_text())["datasources"]}
    mounted = {
        str(volume).split(":", 1)[0]
        for one in COMPOSE["services"].values()
        for volume in one.get("volumes", ())
        if str(volume).startswith("./")
    }

    assert {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]} == sources
    assert mounted
    assert [path for path in mounted if not (CHECKOUT / path).exists()] == []


def _expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in RULES)
    yield from (target["expr"] for panel in PANELS for target in panel["targets"] if "expr" in target)


def _selectors(expression: str) -> list[promql.VectorSelector]:
    """Returns the metrics of an expression. Errors: ValueError for one that Prometheus would refuse."""
    found: list[promql.VectorSelector] = []

    def visit(part: promql.Expr) -> None:
        if isinstance(part, promql.VectorSelector):
            found.append(part)

    promql.walk(promql.parse(expression), visit)
    return found
