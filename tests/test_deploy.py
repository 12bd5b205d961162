"""The Prometheus and Grafana files of `deploy/` are valid, and use metrics that exist."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from crawlyard import Yard
from crawlyard.core.jobs.lifecycle import ENDED
from crawlyard.services.instance.metrics import figures, format_metrics, process_figures
from tests.docs_metrics import all_values, families
from tests.engine.rig import a_spec, opened
from tests.jobs import submit
from tests.site import GraphSite, Serve, site_server
from tests.test_docs import blocks

__all__ = ["site_server"]

DEPLOY = Path(__file__).parents[1] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
MONITORING = DEPLOY.parent / "docs" / "howto" / "monitoring.md"
BOARD = DEPLOY / "grafana" / "crawlyard.json"

_NAME = re.compile(r"\bcrawlyard_\w+")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"|by \(([\w, ]+)\)")
_ADDED = frozenset({"le", "instance", "job"})  # by histograms and by Prometheus


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    rule_list: list[dict[str, Any]] = group["rules"]
    return rule_list


def panels() -> list[dict[str, Any]]:
    panel_list: list[dict[str, Any]] = json.loads(BOARD.read_text("utf-8"))["panels"]
    return panel_list


def expressions() -> Iterator[str]:
    """Yield all that rules and board ask Prometheus."""
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def metrics_of(expression: str) -> set[str]:
    """Return the metrics in an expression; of a histogram, without ``_bucket``."""
    return {name.removesuffix("_bucket") for name in _NAME.findall(expression)}


@pytest.mark.parametrize("expression", [*expressions()])
def test_expressions_use_only_existing_metrics_and_labels(expression: str) -> None:
    metrics = families(format_metrics(all_values()))
    labels = {
        name
        for metric in metrics_of(expression)
        for s in metrics[metric].samples
        for name in s.labels
    }

    used = {
        w for label, many in _LABEL.findall(expression) for w in re.split(r"\W+", label or many)
    }

    assert used <= labels | _ADDED
    for name in _NAME.findall(expression):
        is_histogram = metrics[name.removesuffix("_bucket")].type == "histogram"
        assert name.endswith("_bucket") == is_histogram, name


def test_panels_are_unique_and_do_not_overlap() -> None:
    places = [tuple(panel["gridPos"].values()) for panel in panels()]

    assert len({panel["id"] for panel in panels()}) == len(panels())
    assert len(set(places)) == len(places)


def test_the_board_shows_jobs_that_have_not_ended() -> None:
    [first] = (t["expr"] for t in panels()[0]["targets"])

    assert set(re.findall(r"[a-z]+", first.partition("!~")[2])) == {str(s) for s in ENDED}


def promtool(*words: str | Path) -> str:
    """Return what promtool says if it finds nothing wrong."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("no promtool: apt install prometheus")
    ran = subprocess.run([tool, *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_prometheus_takes_the_configuration_of_the_documents(tmp_path: Path) -> None:
    [written] = blocks(MONITORING.read_text("utf-8"), "yaml")
    config = tmp_path / "prometheus.yml"
    config.write_text(written)
    shutil.copy(RULES, tmp_path)

    promtool("check", "config", "--syntax-only", config)

    jobs = [scraped["job_name"] for scraped in yaml.safe_load(written)["scrape_configs"]]
    [down] = [rule["expr"] for rule in rules() if rule["alert"] == "CrawlyardProcessDown"]
    [pattern] = re.findall(r'job=~"(.*)"', down)
    assert all(re.fullmatch(pattern, job) for job in jobs)


def test_prometheus_accepts_all_rules_and_board_expressions(tmp_path: Path) -> None:
    board = tmp_path / "board.yml"
    recorded = [
        {"record": f"board:{n}", "expr": expression.replace("$__rate_interval", "5m")}
        for n, expression in enumerate(expressions())
    ]
    board.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": recorded}]}))

    checked = promtool("check", "rules", RULES, board)

    assert f"SUCCESS: {len(rules())} rules found" in checked


def slow(name: str, *, above: str) -> Mapping[str, str]:
    """Return a histogram of ten events a minute, all above its bounds."""
    return {
        f'{name}_bucket{{le="{above}"}}': "0x120",
        f'{name}_bucket{{le="10"}}': "0+10x120",
        f'{name}_bucket{{le="+Inf"}}': "0+10x120",
    }


def fast(name: str, *, below: str) -> Mapping[str, str]:
    """Return a histogram of ten events a minute, all within its first bound."""
    return {
        f'{name}_bucket{{le="{below}"}}': "0+10x120",
        f'{name}_bucket{{le="+Inf"}}': "0+10x120",
    }


IDLE, RUNNING = 'crawlyard_workers{state="idle"}', 'crawlyard_workers{state="running"}'
FREE, SLOTS, USED = "crawlyard_shards_free", "crawlyard_slots", "crawlyard_slots_used"
CHECKPOINT, WAIT = "crawlyard_checkpoint_seconds", "crawlyard_database_connection_wait_seconds"
FAILED = 'crawlyard_request_failures_total{kind="dns"}'
ANSWERED = 'crawlyard_responses_total{class="2xx"}'
UNRENDERED = 'crawlyard_render_failures_total{browser="chromium"}'
RENDERED = 'crawlyard_rendered_pages_total{browser="chromium"}'
OLD, NEW = (f'crawlyard_build_info{{version="{n}"}}' for n in (1, 2))

# of each alert: series that set it off, and some that do not
ALERTS: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "CrawlyardProcessDown": ({'up{job="crawlyard-workers"}': "0x120"}, {'up{job="x"}': "0x120"}),
    "CrawlyardNoWorkers": ({IDLE: "0x120", RUNNING: "0x120"}, {IDLE: "0x120", RUNNING: "1x120"}),
    "CrawlyardJobsWait": (
        {"crawlyard_job_wait_seconds": "2000x120"},
        {"crawlyard_job_wait_seconds": "1000x120"},
    ),
    "CrawlyardShardsWait": (
        {FREE: "1x120", SLOTS: "4x120", USED: "3x120"},
        {FREE: "1x120", SLOTS: "4x120", USED: "4x120"},
    ),
    "CrawlyardSchedulesLate": (
        {"crawlyard_schedule_lateness_seconds": "300x120"},
        {"crawlyard_schedule_lateness_seconds": "0 300 0x118"},
    ),
    "CrawlyardWebhooksLate": (
        {"crawlyard_webhook_delay_seconds": "900x120"},
        {"crawlyard_webhook_delay_seconds": "60x120"},
    ),
    "CrawlyardStoreSlow": (
        {"crawlyard_store_latency_seconds": "1x120"},
        {"crawlyard_store_latency_seconds": "0.01x120"},
    ),
    "CrawlyardCheckpointsSlow": (slow(CHECKPOINT, above="1"), fast(CHECKPOINT, below="1")),
    "CrawlyardConnectionsScarce": (slow(WAIT, above="0.5"), fast(WAIT, below="0.5")),
    "CrawlyardLockWaits": (
        {"crawlyard_database_lock_waits": "20x120"},
        {"crawlyard_database_lock_waits": "2x120"},
    ),
    "CrawlyardWorkersLost": (
        {"crawlyard_takeovers_total": "0+1x120"},
        {"crawlyard_takeovers_total": "9x120"},
    ),
    "CrawlyardRequestsFail": (
        {FAILED: "0+60x120", ANSWERED: "0+30x120"},
        {FAILED: "0+30x120", ANSWERED: "0+60x120"},
    ),
    "CrawlyardRenderingFails": (
        {UNRENDERED: "0+60x120", RENDERED: "0+30x120"},
        {UNRENDERED: "0+30x120", RENDERED: "0+60x120"},
    ),
    "CrawlyardRedisAway": ({"crawlyard_redis_up": "0x120"}, {"crawlyard_redis_up": "1x120"}),
    "CrawlyardVersionsDiffer": ({OLD: "1x120", NEW: "1x120"}, {NEW: "1x120"}),
}


def test_each_alert_goes_off_when_it_should_and_not_otherwise(tmp_path: Path) -> None:
    assert set(ALERTS) == {rule["alert"] for rule in rules()}
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": it} for name, it in series.items()],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                    "eval_time": "90m",
                    "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
                }
            ],
        }
        for alert, cases in ALERTS.items()
        for series, fires in zip(cases, (True, False), strict=True)
    ]
    suite = {"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": tests}
    file = tmp_path / "alerts_test.yml"
    file.write_text(yaml.safe_dump(suite))

    promtool("test", "rules", file)


async def exposed_by(yard: Yard, url: str) -> tuple[set[str], set[str]]:
    """Crawl a page; return the metrics that its server and its worker show after that."""
    await submit(yard, a_spec(url))
    await yard.worker().run(drain=True)
    measures = yard.services.measures
    server = await figures(yard.store, yard.bus, yard.clock, measures)
    worker = await process_figures(yard.store, measures)
    return set(families(format_metrics(server))), set(families(format_metrics(worker)))


async def test_all_queried_metrics_are_exposed_except_those_of_postgres_or_redis(
    tmp_path: Path, site_server: Serve
) -> None:
    served = await site_server(GraphSite({"/": []}))
    async with opened(tmp_path) as yard:
        server, worker = await exposed_by(yard, f"{served.url}/")

    missing = {name for expression in expressions() for name in metrics_of(expression)} - server
    assert missing == {
        "crawlyard_database_connection_wait_seconds",
        "crawlyard_database_lock_waits",
        "crawlyard_redis_up",
    }
    assert worker < server


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.redis
async def test_with_postgres_and_redis_all_is_shown_that_the_reference_lists(
    tmp_path: Path, site_server: Serve, postgres_url: str, redis_url: str
) -> None:
    served = await site_server(GraphSite({"/": []}))
    async with opened(tmp_path, database_url=postgres_url, redis_url=redis_url) as yard:
        server, worker = await exposed_by(yard, f"{served.url}/")

    listed = await asyncio.to_thread(all_values)
    assert server == set(families(format_metrics(listed)))
    assert worker == set(families(format_metrics(listed.process)))
