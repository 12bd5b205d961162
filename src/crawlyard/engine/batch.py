"""Draft of the next checkpoint batch."""

from collections.abc import Mapping

from msgspec import Struct, field

from crawlyard.core.crawl.lastmod import LastmodRecord
from crawlyard.core.crawl.page import Outcome, Skipped, Target, TargetState
from crawlyard.core.jobs.checkpoint import Batch
from crawlyard.core.jobs.limits import USAGE_NAMES, Counters, Usage
from crawlyard.core.quantity import count_noun

MOST_NOTES = 100  # per crawl, so that thousands of closed hosts don't flood the events


class Tally(Counters, kw_only=True):
    """The live counters of a crawl."""

    @classmethod
    def of(cls, usage: Usage) -> "Tally":
        """Return counters that continue from *usage*."""
        return cls(**{name: getattr(usage, name) for name in USAGE_NAMES})

    def spend(self, wire_bytes: int) -> None:
        """Count the bytes of a response body."""
        self.bytes += wire_bytes

    def since(self, before: Usage) -> Usage:
        """Return the difference from *before*."""
        return Usage(**{n: getattr(self, n) - getattr(before, n) for n in USAGE_NAMES})


class BatchDraft(Struct):
    """Batch under construction, and the tally of the whole job."""

    tally: Tally
    reported: Usage  # the tally as of the last batch
    new_targets: list[Target] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    notes: list[Mapping[str, object]] = field(default_factory=list)
    lastmods: dict[str, LastmodRecord] = field(default_factory=dict)  # by host; only new ones
    current_url: str = ""
    notes_made: int = 0
    credentials: int = 0  # links whose user name or password was dropped
    nearly_empty: int = 0  # pages with almost no main content
    textless_pdfs: int = 0  # PDF documents without any text
    unrendered: int = 0  # pages that need scripts, without a browser to run them
    lack: str = ""  # the missing browser, and how to install it

    @property
    def has_news(self) -> bool:
        """True if the draft has new targets or outcomes."""
        return bool(self.new_targets or self.outcomes)

    def note(self, text: str) -> None:
        """Add a note for the job's events, up to `MOST_NOTES` per crawl."""
        if self.notes_made < MOST_NOTES:
            self.notes_made += 1
            self.notes.append({"note": text})

    def add_target(self, target: Target) -> None:
        """Add a target and count it as discovered."""
        self.new_targets.append(target)
        self.tally.discovered += 1

    def add_skipped(self, target: Target, rule: str) -> None:
        """Add a new URL that *rule* excludes."""
        self.skipped.append(Skipped(target, rule))
        self.tally.skipped += 1

    def close(self, outcome: Outcome) -> None:
        """Add the outcome of a target and update the tally."""
        self.outcomes.append(outcome)
        tally = self.tally
        if outcome.state is TargetState.WAITING:
            return
        tally.done += 1
        tally.skipped += outcome.state is TargetState.SKIPPED
        page = outcome.page
        redirects = (page is None or page.error is not None) and outcome.redirects
        tally.redirects += redirects
        if page is not None:
            tally.pages += page.status is not None
            tally.errors += page.error is not None
            tally.needs_scripts += page.needs_scripts
            if page.unchanged_since is not None:
                tally.unchanged += 1
                tally.requests_saved += outcome.spared
                tally.bytes_saved += page.bytes
            else:
                tally.rendered += bool(page.rendered_by)
            is_pdf = page.content_type == "application/pdf"
            self.nearly_empty += page.nearly_empty and not is_pdf
            self.textless_pdfs += page.nearly_empty and is_pdf
            tally.bad_redirects += redirects

    def batch(self, *, last: bool) -> Batch:
        """Return the draft as a batch and start the next one."""
        if last and self.credentials:
            links = count_noun(self.credentials, "link")
            note = f"{links} had a user name or password and were followed without it"
            self.notes.append({"note": note})
        if last and self.nearly_empty:
            note = f"main text is nearly empty on {count_noun(self.nearly_empty, 'page')}"
            self.notes.append({"note": f"{note}; text=page-markdown keeps all of a page"})
        if last and self.textless_pdfs:
            documents = count_noun(self.textless_pdfs, "PDF document")
            self.notes.append({"note": f"no text in {documents}: only images or empty pages"})
        if last and self.unrendered:
            note = f"{count_noun(self.unrendered, 'page')} need scripts and were not rendered"
            self.notes.append({"note": f"{note}: {self.lack}"})
        batch = Batch(
            found=tuple(self.new_targets),
            skipped=tuple(self.skipped),
            outcomes=tuple(self.outcomes),
            usage=self.tally.since(self.reported),
            current_url=self.current_url,
            notes=tuple(self.notes),
            lastmods=self.lastmods,
            last=last,
        )
        self.reported = self.reported.plus(batch.usage)
        self.new_targets, self.skipped, self.outcomes, self.notes = [], [], [], []
        self.lastmods = {}
        return batch
