"""JUnit XML of a check: what continuous integration shows as tests."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from crawlyard.core.answers.jobs.checks import CheckOut, FindingOut
from crawlyard.core.crawl.link_check import FindingKind

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 §2.2


def written(found: CheckOut, urls: Sequence[str]) -> bytes:
    """Return *found* as one test suite: a test for each finding, one for each kind without any.

    A finding that an earlier check had already is a test that was skipped.
    """
    skipped = sum(one.new is False for one in found.items)
    kinds = [kind.value for kind in FindingKind if not found.counts.get(kind.value)]
    suite = ET.Element(
        "testsuite",
        name=_clean(f"crawlyard check {' '.join(urls[:3])}"),
        tests=str(len(found.items) + len(kinds)),
        failures=str(len(found.items) - skipped),
        skipped=str(skipped),
        errors="0",
    )
    for kind in kinds:
        ET.SubElement(suite, "testcase", classname=kind, name=f"no {kind.replace('_', ' ')}")
    for one in found.items:
        case = ET.SubElement(suite, "testcase", classname=one.kind, name=_clean(one.address))
        if one.new is False:
            ET.SubElement(case, "skipped", message=_clean(f"known already: {one.detail}"))
        else:
            failure = ET.SubElement(case, "failure", type=one.kind, message=_clean(one.detail))
            failure.text = _clean("\n".join(_lines(one)))
    return b'<?xml version="1.0" encoding="utf-8"?>\n%b\n' % ET.tostring(suite)


def _lines(finding: FindingOut) -> list[str]:
    chain = [f"redirects to {url}" for url in finding.chain]
    linked = [f"linked from {by.url}: {by.text}" for by in finding.linked_from]
    return [*chain, *linked, *finding.pages]


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
