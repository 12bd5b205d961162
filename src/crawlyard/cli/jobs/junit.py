"""JUnit XML of a check, for continuous integration."""

import re
from collections.abc import Iterable
from xml.etree import ElementTree as ET

from crawlyard.core.crawl.link_check import FindingKind
from crawlyard.core.crawl.link_check_answers import CheckOut, FindingOut
from crawlyard.core.jobs.answers import JobOut

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 §2.2


def render(job: JobOut, report: CheckOut | None) -> bytes:
    """Return the check of *job* as one test suite; *report* is ``None`` if the job has not ended.

    There is a test for the check as a whole, one for each finding, and one for each kind without
    any. The first is skipped if the check is incomplete, and an error if its job did not complete.
    A finding that an earlier check had already is skipped, and so is a kind without findings if
    the check is incomplete.
    """
    suite = ET.Element("testsuite", name=_clean(f"crawlyard check {' '.join(job.spec.urls[:3])}"))
    case = _test(suite, "check", "the check is complete")
    if report is None or job.state != "completed":
        reason = report.incomplete_reason if report else f"the job is {job.state}: {job.detail}"
        _result(case, "error", reason, kind=job.state_reason)
    elif report.incomplete:
        _result(case, "skipped", report.incomplete_reason, _list_unchecked(report))
    if report is not None:
        _add_findings(suite, report)
    for name in ("failure", "error", "skipped"):
        plural = name if name == "skipped" else f"{name}s"
        suite.set(plural, str(len(suite.findall(f"testcase/{name}"))))
    suite.set("tests", str(len(suite)))
    return b'<?xml version="1.0" encoding="utf-8"?>\n%b\n' % ET.tostring(suite)


def _add_findings(suite: ET.Element, report: CheckOut) -> None:
    for kind in FindingKind:
        if not report.counts.get(kind.value):
            case = _test(suite, kind.value, f"no {kind.value.replace('_', ' ')}")
            if report.incomplete:
                _result(case, "skipped", f"none so far: {report.incomplete_reason}")
    for finding in report.items:
        case = _test(suite, finding.kind, finding.address)
        if finding.new is False:
            _result(case, "skipped", f"already known: {finding.detail}")
        else:
            _result(case, "failure", finding.detail, _lines(finding), kind=finding.kind)


def _test(suite: ET.Element, kind: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=kind, name=_clean(name))


def _result(
    case: ET.Element, name: str, message: str, lines: Iterable[str] = (), *, kind: str = ""
) -> None:
    result = ET.SubElement(case, name, message=_clean(message))
    if kind:
        result.set("type", kind)
    result.text = _clean("\n".join(lines))


def _lines(finding: FindingOut) -> list[str]:
    chain = [f"redirects to {url}" for url in finding.chain]
    linked = [f"linked from {by.url}: {by.text}" for by in finding.linked_from]
    listed = [f"listed in {finding.sitemap}"] if finding.sitemap else []
    return [*chain, *linked, *listed, *finding.pages]


def _list_unchecked(report: CheckOut) -> list[str]:
    return [f"{group.reason}: {url}" for group in report.unchecked_by for url in group.urls]


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
