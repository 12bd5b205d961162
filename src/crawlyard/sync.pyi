# made by `python -m tests.sync_stub`; a test compares it
# ruff: noqa: A001, A002 - the names of what is asked for
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Literal, TypeVar, Unpack

from msgspec import UnsetType

from crawlyard.config import Settings
from crawlyard.core.access.answers import (
    MeOut,
    NewShareOut,
    NewTokenOut,
    NewTriggerOut,
    SectionOut,
    SessionOut,
    ShareOut,
    TokenOut,
    TriggerOut,
    UserOut,
)
from crawlyard.core.access.audit import AuditOut
from crawlyard.core.access.site_session import LoginKind
from crawlyard.core.access.user import Actor, QuotaAsk, Role
from crawlyard.core.access.view import SavedView
from crawlyard.core.attention.attention import AttentionOut
from crawlyard.core.crawl.change_answers import DiffOut, FeedChangeOut, PageDiffOut, RunChangesOut
from crawlyard.core.crawl.link_check_answers import CheckOut, FindingsOut
from crawlyard.core.crawl.page import Body, ErrorKind
from crawlyard.core.crawl.page_answers import (
    ErrorsOut,
    FateOut,
    LinkOut,
    NeighboursOut,
    PathStepOut,
    SiteMapOut,
    SkippedGroupOut,
    SkippedOut,
    StoredPageOut,
    WaitingOut,
)
from crawlyard.core.endpoints.endpoint import Slice
from crawlyard.core.hosts.answers import HostOut, HostRuleOut
from crawlyard.core.instance import EnumsOut, MetaOut, SchemasOut
from crawlyard.core.jobs.answers import BatchOut, EventOut, JobOut, JobPlanOut, RetriedOut
from crawlyard.core.jobs.detail_answers import (
    AttemptOut,
    ConfigOut,
    CountsOut,
    DeletionOut,
    ExclusionOut,
    ExpandedJobOut,
    JobProgressOut,
    QueueOut,
    ShardOut,
)
from crawlyard.core.jobs.job_log import LevelWord
from crawlyard.core.jobs.log_answers import CourseOut, LineOut
from crawlyard.core.jobs.order import GroupKey
from crawlyard.core.jobs.preview_answers import PreviewOut
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.operations.answers import BulkOut, OperationOut
from crawlyard.core.operations.bulk import JobAction, RetryScope
from crawlyard.core.operations.group import GroupOut
from crawlyard.core.schedules.answers import (
    AheadOut,
    BackfillOut,
    ConvertedScheduleOut,
    ExpandedScheduleOut,
    ExpandedTickOut,
    ScheduleDeletionOut,
    ScheduleOut,
    TimetablePreviewOut,
)
from crawlyard.core.schedules.calendar import Calendar, CalendarHours
from crawlyard.core.schedules.schedule import Misfire, Overlap
from crawlyard.core.search.answers import FoundPagesOut
from crawlyard.core.stats import PaceOut, RunsOut, StatsOut
from crawlyard.core.templates.answers import (
    CheckedTemplateOut,
    ConvertedTemplateOut,
    RenderedOut,
    SavedTemplateOut,
    TemplateDeletionOut,
    TemplateOut,
)
from crawlyard.core.templates.template import FileFormat
from crawlyard.core.webhooks.answers import (
    DeliveryOut,
    NewSecretOut,
    NotificationOut,
    WebhookDeletionOut,
    WebhookOut,
)
from crawlyard.core.webhooks.notifications import Occasion
from crawlyard.core.webhooks.webhook import DeliveryState
from crawlyard.core.workers.answers import WorkerOut
from crawlyard.export.base import Format
from crawlyard.services.access.audit import AuditTerms
from crawlyard.services.hosts import HostChanges
from crawlyard.services.jobs.parameters import FormTerms
from crawlyard.services.jobs.terms import BulkTerms, JobTerms
from crawlyard.services.results.terms import ArchiveTerms, SearchTerms
from crawlyard.services.schedules.terms import ScheduleChanges

_T = TypeVar("_T")

def connect(
    url: str | None = None, token: str | None = None
) -> AbstractContextManager[Surface]: ...
def open(
    settings: Settings | None = None, actor: Actor = ...
) -> AbstractContextManager[Surface]: ...
def every(
    ask: Callable[..., Slice[_T]], *args: Any, limit: int | None = None, **asked: Any
) -> Iterator[_T]: ...

class _Account:
    def me(self) -> MeOut: ...

class _Users:
    def list(self, *, limit: int = 50, cursor: str | None = None) -> Slice[UserOut]: ...
    def create(
        self,
        id: str,
        role: Role = ...,
        quota: QuotaAsk = ...,
        *,
        idempotency_key: str | None = None,
    ) -> UserOut: ...
    def get(self, user_id: str) -> UserOut: ...
    def edit(
        self,
        user_id: str,
        *,
        role: Role | None = None,
        quota: QuotaAsk | None = None,
        disabled: bool | None = None,
        version: int | tuple[int, ...] | None = None,
    ) -> UserOut: ...

class _Tokens:
    def list(self, *, limit: int = 50, cursor: str | None = None) -> Slice[TokenOut]: ...
    def create(
        self,
        name: str,
        *,
        user: str | None = None,
        scopes: tuple[str, ...] = (),
        expires_in_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> NewTokenOut: ...
    def get(self, token_id: str) -> TokenOut: ...
    def revoke(self, token_id: str) -> None: ...

class _Triggers:
    def list(self, *, limit: int = 50, cursor: str | None = None) -> Slice[TriggerOut]: ...
    def create(
        self,
        name: str,
        *,
        schedule: str | None = None,
        template: str | None = None,
        params: Mapping[str, Any] = ...,
        mapping: Mapping[str, str] = ...,
        expires_in_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> NewTriggerOut: ...
    def get(self, trigger_id: str) -> TriggerOut: ...
    def revoke(self, trigger_id: str) -> None: ...

class _Shares:
    def list(
        self, *, job: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Slice[ShareOut]: ...
    def create(
        self,
        job: str,
        *,
        days: float = 7,
        downloads: bool = False,
        name: str = "",
        idempotency_key: str | None = None,
    ) -> NewShareOut: ...
    def get(self, share_id: str) -> ShareOut: ...
    def revoke(self, share_id: str) -> None: ...

class _Jobs:
    def list(
        self,
        *,
        id: str = "",
        sort: Literal[
            "-created_at",
            "created_at",
            "-started_at",
            "started_at",
            "-ended_at",
            "ended_at",
            "-duration",
            "duration",
            "-pages",
            "pages",
            "name",
            "-name",
        ] = "-created_at",
        group: GroupKey | None = None,
        count: Literal["exact", "estimate"] | None = None,
        limit: int = 50,
        cursor: str | None = None,
        **terms: Unpack[JobTerms],
    ) -> Slice[JobOut]: ...
    def counts(self, **terms: Unpack[JobTerms]) -> CountsOut: ...
    def queue(self, *, limit: int = 50) -> QueueOut: ...
    def get(self, job_id: str, *, expand: str | tuple[str, ...] = ()) -> ExpandedJobOut: ...
    def plan(self, form: Mapping[str, Any] = ..., **terms: Unpack[FormTerms]) -> JobPlanOut: ...
    def preview(
        self,
        form: Mapping[str, Any] = ...,
        *,
        test_urls: tuple[str, ...] = (),
        **terms: Unpack[FormTerms],
    ) -> PreviewOut: ...
    def submit_many(
        self, jobs: Sequence[dict[str, Any]], *, idempotency_key: str | None = None
    ) -> BatchOut: ...
    def bulk(
        self,
        action: JobAction,
        *,
        expected_count: int | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
        **terms: Unpack[BulkTerms],
    ) -> BulkOut: ...
    def edit(
        self,
        job_id: str,
        changes: Mapping[str, Any],
        *,
        version: int | tuple[int, ...] | None = None,
    ) -> JobOut: ...
    def exclude(
        self,
        job_id: str,
        pattern: str,
        *,
        dry_run: bool = False,
        version: int | tuple[int, ...] | None = None,
    ) -> ExclusionOut: ...
    def delete(self, job_id: str, *, version: int | tuple[int, ...] | None = None) -> None: ...
    def deletable(
        self, job_id: str, *, version: int | tuple[int, ...] | None = None
    ) -> DeletionOut: ...
    def pause(
        self, job_id: str, reason: str = "", *, version: int | tuple[int, ...] | None = None
    ) -> JobOut: ...
    def cancel(
        self, job_id: str, reason: str = "", *, version: int | tuple[int, ...] | None = None
    ) -> JobOut: ...
    def resume(self, job_id: str, *, version: int | tuple[int, ...] | None = None) -> JobOut: ...
    def retry(
        self,
        job_id: str,
        *,
        scope: RetryScope = ...,
        kinds: tuple[ErrorKind, ...] = (),
        version: int | tuple[int, ...] | None = None,
        idempotency_key: str | None = None,
    ) -> RetriedOut: ...
    def progress(self, job_id: str) -> JobProgressOut: ...
    def config(self, job_id: str) -> ConfigOut: ...
    def attempts(self, job_id: str) -> Slice[AttemptOut]: ...
    def shards(self, job_id: str) -> Slice[ShardOut]: ...
    def events(
        self, job_id: str, *, limit: int = 50, cursor: str | None = None
    ) -> Slice[EventOut]: ...
    def log(
        self,
        job_id: str,
        *,
        level: LevelWord = ...,
        q: str = "",
        after: int = 0,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Slice[LineOut]: ...
    def log_stream(
        self,
        job_id: str,
        *,
        level: LevelWord = ...,
        after: int = 0,
        last_event_id: int | None = None,
    ) -> Iterator[LineOut]: ...
    def metrics(self, job_id: str) -> CourseOut: ...
    def create(
        self,
        crawl: JobSpec | Mapping[str, Any] | Sequence[str] | str = (),
        *,
        template: str | None = None,
        template_version: int | None = None,
        params: Mapping[str, Any] | None = None,
        start_at: datetime | None = None,
        grant: bool = False,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> JobOut: ...
    def run(
        self,
        crawl: JobSpec | Mapping[str, Any] | Sequence[str] | str = (),
        *,
        template: str | None = None,
        template_version: int | None = None,
        params: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> JobOut: ...
    def wait(
        self,
        job_id: str,
        *,
        timeout_s: float | None = 30.0,
        states: str | tuple[str, ...] = (),
        without_worker: bool = False,
    ) -> JobOut: ...
    def pages(
        self,
        job_id: str,
        *,
        include: str | tuple[str, ...] = "text",
        limit: int | None = None,
        **terms: Unpack[SearchTerms],
    ) -> Iterator[StoredPageOut]: ...

class _Groups:
    def get(self, group_id: str) -> GroupOut: ...
    def cancel(self, group_id: str, reason: str = "") -> BulkOut: ...
    def wait(self, group_id: str, *, timeout_s: float | None = None) -> GroupOut: ...

class _Results:
    def pages(
        self,
        job_id: str,
        *,
        include: str | tuple[str, ...] = (),
        limit: int = 50,
        cursor: str | None = None,
        **terms: Unpack[SearchTerms],
    ) -> Slice[StoredPageOut]: ...
    def page(self, job_id: str, page_id: int) -> StoredPageOut: ...
    def part(self, job_id: str, page_id: int, part: Body) -> str: ...
    def screenshot(self, job_id: str, page_id: int) -> Iterator[bytes]: ...
    def neighbours(
        self, job_id: str, page_id: int, **terms: Unpack[SearchTerms]
    ) -> NeighboursOut: ...
    def links(
        self,
        job_id: str,
        *,
        from_: str | None = None,
        to: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Slice[LinkOut]: ...
    def errors(
        self, job_id: str, *, referrers: bool = False, by_status: bool = False
    ) -> ErrorsOut: ...
    def failed(
        self, job_id: str, kind: str, *, limit: int = 50, cursor: str | None = None
    ) -> Slice[StoredPageOut]: ...
    def skipped(
        self,
        job_id: str,
        *,
        rule: str | tuple[str, ...] = (),
        limit: int = 50,
        cursor: str | None = None,
    ) -> Slice[SkippedOut]: ...
    def skipped_rules(self, job_id: str) -> Slice[SkippedGroupOut]: ...
    def frontier(
        self, job_id: str, *, limit: int = 50, cursor: str | None = None
    ) -> Slice[WaitingOut]: ...
    def export(
        self,
        job_id: str,
        *,
        format_: Format | None = None,
        chunks: int | None = None,
        links: bool = False,
        gzip: bool = False,
        **terms: Unpack[SearchTerms],
    ) -> Iterator[bytes]: ...
    def diff(
        self,
        job_id: str,
        other: str,
        *,
        only: str | tuple[str, ...] = (),
        ignore_text: str = "",
        sort: Literal["url", "-share"] = "url",
        limit: int = 50,
        cursor: str | None = None,
    ) -> DiffOut: ...
    def page_diff(
        self, job_id: str, other: str, url: str, *, ignore_text: str = ""
    ) -> PageDiffOut: ...

class _CrawledSite:
    def map(self, job_id: str, *, under: str = "") -> SiteMapOut: ...
    def path(self, job_id: str, url: str) -> Slice[PathStepOut]: ...
    def why(self, job_id: str, url: str) -> FateOut: ...
    def check(self, job_id: str, *, since: str | None = None) -> CheckOut: ...
    def findings(
        self,
        job_id: str,
        *,
        kind: str | tuple[str, ...] = (),
        limit: int = 50,
        cursor: str | None = None,
    ) -> FindingsOut: ...

class _Pages:
    def find(
        self,
        q: str = "",
        *,
        limit: int = 50,
        cursor: str | None = None,
        **terms: Unpack[ArchiveTerms],
    ) -> FoundPagesOut: ...
    def export(
        self,
        q: str = "",
        *,
        format_: Literal["jsonl", "csv", "parquet"] | None = None,
        text: bool = False,
        **terms: Unpack[ArchiveTerms],
    ) -> Iterator[bytes]: ...

class _Templates:
    def list(
        self,
        *,
        visibility: Literal["private", "public"] | None = None,
        owner: str | None = None,
        q: str = "",
        limit: int = 50,
        cursor: str | None = None,
    ) -> Slice[TemplateOut]: ...
    def create(
        self, template: Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> TemplateOut: ...
    def import_(
        self, content: str, *, format_: FileFormat | None = None, idempotency_key: str | None = None
    ) -> TemplateOut: ...
    def validate(
        self,
        content: str | None = None,
        *,
        format_: FileFormat | None = None,
        template: Mapping[str, Any] = ...,
    ) -> CheckedTemplateOut: ...
    def convert(
        self, content: str | None = None, *, template: Mapping[str, Any] = ...
    ) -> ConvertedTemplateOut: ...
    def get(self, ref: str) -> TemplateOut: ...
    def edit(
        self, ref: str, changes: Mapping[str, Any], *, version: int | tuple[int, ...] | None
    ) -> SavedTemplateOut: ...
    def delete(self, ref: str, *, version: int | tuple[int, ...] | None) -> None: ...
    def deletable(
        self, ref: str, *, version: int | tuple[int, ...] | None = None
    ) -> TemplateDeletionOut: ...
    def versions(
        self, ref: str, *, limit: int = 50, cursor: str | None = None
    ) -> Slice[TemplateOut]: ...
    def version(self, ref: str, version: int) -> TemplateOut: ...
    def restore(
        self, ref: str, version: int, *, latest: int | tuple[int, ...] | None = None
    ) -> SavedTemplateOut: ...
    def publish(
        self, ref: str, *, confirm: bool = False, version: int | tuple[int, ...] | None = None
    ) -> SavedTemplateOut: ...
    def unpublish(
        self, ref: str, *, version: int | tuple[int, ...] | None = None
    ) -> TemplateOut: ...
    def duplicate(
        self,
        ref: str,
        *,
        name: str | None = None,
        version: int | None = None,
        idempotency_key: str | None = None,
    ) -> TemplateOut: ...
    def render(
        self,
        ref: str,
        *,
        params: Mapping[str, Any] = ...,
        overrides: Mapping[str, Any] = ...,
        version: int | None = None,
    ) -> RenderedOut: ...
    def export(self, ref: str, *, format_: FileFormat = ..., version: int | None = None) -> str: ...

class _Schedules:
    def changes(
        self, ref: str, *, limit: int = 20, cursor: str | None = None
    ) -> Slice[RunChangesOut]: ...
    def changes_feed(self, ref: str) -> str: ...
    def export(
        self,
        ref: str,
        *,
        format_: Format | None = None,
        changed: bool = False,
        chunks: int | None = None,
        gzip: bool = False,
    ) -> Iterator[bytes]: ...
    def list(
        self,
        *,
        expand: str | tuple[str, ...] = (),
        paused: bool | None = None,
        template: str | None = None,
        owner: str | None = None,
        q: str = "",
        limit: int = 50,
        cursor: str | None = None,
    ) -> Slice[ExpandedScheduleOut]: ...
    def preview(
        self,
        when: str,
        *,
        zone: str = "UTC",
        count: int = 5,
        jitter_s: float = 0,
        starts_at: datetime | None = None,
        ends_at: datetime | None = None,
    ) -> TimetablePreviewOut: ...
    def convert(
        self, content: str | None = None, **schedule: Unpack[ScheduleChanges]
    ) -> ConvertedScheduleOut: ...
    def calendar(self, from_: datetime | None = None, to: datetime | None = None) -> Calendar: ...
    def hours(
        self,
        from_: datetime | None = None,
        to: datetime | None = None,
        *,
        zone: str = "UTC",
        schedule: str | None = None,
    ) -> CalendarHours: ...
    def get(self, ref: str, *, expand: str | tuple[str, ...] = ()) -> ExpandedScheduleOut: ...
    def edit(
        self,
        ref: str,
        *,
        version: int | tuple[int, ...] | None = None,
        **changes: Unpack[ScheduleChanges],
    ) -> ScheduleOut: ...
    def delete(self, ref: str, *, version: int | tuple[int, ...] | None = None) -> None: ...
    def deletable(
        self, ref: str, *, version: int | tuple[int, ...] | None = None
    ) -> ScheduleDeletionOut: ...
    def pause(
        self, ref: str, reason: str = "", *, version: int | tuple[int, ...] | None = None
    ) -> ScheduleOut: ...
    def resume(self, ref: str, *, version: int | tuple[int, ...] | None = None) -> ScheduleOut: ...
    def run(
        self,
        ref: str,
        *,
        version: int | tuple[int, ...] | None = None,
        idempotency_key: str | None = None,
    ) -> JobOut: ...
    def backfill(
        self,
        ref: str,
        from_: datetime,
        to: datetime | None = None,
        *,
        dry_run: bool = True,
        version: int | tuple[int, ...] | None = None,
        idempotency_key: str | None = None,
    ) -> BackfillOut: ...
    def runs(
        self,
        ref: str,
        *,
        expand: str | tuple[str, ...] = (),
        before: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Slice[ExpandedTickOut]: ...
    def next(self, ref: str, count: int = 5) -> AheadOut: ...
    def create(
        self,
        name: str,
        when: str,
        crawl: JobSpec | Mapping[str, Any] | Sequence[str] | str = (),
        *,
        zone: str = "UTC",
        description: str = "",
        template: str | None = None,
        template_version: int | None = None,
        params: Mapping[str, Any] = ...,
        overrides: Mapping[str, Any] = ...,
        overlap: Overlap = ...,
        misfire: Misfire = ...,
        grace_s: float = 300,
        catch_up: int = 10,
        jitter_s: float = 0,
        starts_at: datetime | None = None,
        ends_at: datetime | None = None,
        runs_left: int | None = None,
        pause_after: int | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> ScheduleOut: ...

class _ChangeFeed:
    def list(
        self,
        *,
        schedule: str | None = None,
        only: str | tuple[str, ...] = (),
        after: int = 0,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Slice[FeedChangeOut]: ...

class _Webhooks:
    def list(
        self,
        *,
        job: str = "",
        id: str = "",
        owner: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Slice[WebhookOut]: ...
    def create(
        self,
        url: str,
        *,
        events: tuple[str, ...] = ...,
        description: str = "",
        allow_addresses: tuple[str, ...] = (),
        schedule: str | None = None,
        idempotency_key: str | None = None,
    ) -> NewSecretOut: ...
    def get(self, webhook_id: str) -> WebhookOut: ...
    def edit(
        self,
        webhook_id: str,
        *,
        url: UnsetType | str = ...,
        events: UnsetType | tuple[str, ...] | None = ...,
        description: UnsetType | str | None = ...,
        allow_addresses: UnsetType | tuple[str, ...] | None = ...,
        schedule: UnsetType | str | None = ...,
        version: int | tuple[int, ...] | None = None,
    ) -> WebhookOut: ...
    def delete(self, webhook_id: str, *, version: int | tuple[int, ...] | None = None) -> None: ...
    def deletable(
        self, webhook_id: str, *, version: int | tuple[int, ...] | None = None
    ) -> WebhookDeletionOut: ...
    def test(
        self,
        webhook_id: str,
        *,
        version: int | tuple[int, ...] | None = None,
        idempotency_key: str | None = None,
    ) -> WebhookOut: ...
    def rotate(
        self, webhook_id: str, *, version: int | tuple[int, ...] | None = None
    ) -> NewSecretOut: ...
    def enable(
        self, webhook_id: str, *, version: int | tuple[int, ...] | None = None
    ) -> WebhookOut: ...
    def disable(
        self, webhook_id: str, *, version: int | tuple[int, ...] | None = None
    ) -> WebhookOut: ...
    def deliveries(
        self,
        webhook_id: str,
        *,
        state: DeliveryState | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Slice[DeliveryOut]: ...
    def replay(
        self, webhook_id: str, delivery_id: str, *, idempotency_key: str | None = None
    ) -> DeliveryOut: ...

class _Notifications:
    def list(
        self, *, owner: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Slice[NotificationOut]: ...
    def create(
        self,
        name: str,
        kind: Literal["slack", "discord", "ntfy", "teams", "mail"],
        to: str,
        *,
        on: tuple[Occasion, ...] = ...,
        quiet_hours: str = "",
        zone: str = "UTC",
        digest_s: float = 300.0,
        named_only: bool = False,
        allow_addresses: tuple[str, ...] = (),
        idempotency_key: str | None = None,
    ) -> NotificationOut: ...
    def get(self, ref: str) -> NotificationOut: ...
    def edit(
        self,
        ref: str,
        *,
        to: UnsetType | str = ...,
        on: UnsetType | tuple[Occasion, ...] | None = ...,
        quiet_hours: UnsetType | str | None = ...,
        zone: UnsetType | str | None = ...,
        digest_s: UnsetType | float | None = ...,
        named_only: UnsetType | bool | None = ...,
        allow_addresses: UnsetType | tuple[str, ...] | None = ...,
        version: int | tuple[int, ...] | None = None,
    ) -> NotificationOut: ...
    def delete(self, ref: str, *, version: int | tuple[int, ...] | None = None) -> None: ...
    def test(
        self,
        ref: str,
        *,
        version: int | tuple[int, ...] | None = None,
        idempotency_key: str | None = None,
    ) -> NotificationOut: ...
    def enable(
        self, ref: str, *, version: int | tuple[int, ...] | None = None
    ) -> NotificationOut: ...
    def disable(
        self, ref: str, *, version: int | tuple[int, ...] | None = None
    ) -> NotificationOut: ...
    def deliveries(
        self,
        ref: str,
        *,
        state: DeliveryState | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Slice[DeliveryOut]: ...

class _SiteSessions:
    def list(self) -> Slice[SessionOut]: ...
    def get(self, name: str) -> SessionOut: ...
    def login(
        self,
        name: str,
        kind: LoginKind,
        *,
        url: str = "",
        user: str = "",
        secret: str = "",
        cookies: str = "",
        fields: Mapping[str, str] = ...,
        submit: str = "",
        allow_addresses: tuple[str, ...] = (),
        allow_private: bool = False,
        proxies: tuple[str, ...] = (),
        user_agent: str = "",
        version: int | tuple[int, ...] | None = None,
    ) -> SessionOut: ...
    def delete(self, name: str, *, version: int | tuple[int, ...] | None = None) -> None: ...

class _Workers:
    def list(self) -> Slice[WorkerOut]: ...
    def get(self, worker_id: str) -> WorkerOut: ...
    def forget(self, worker_id: str) -> None: ...
    def quiet(self, worker_id: str) -> WorkerOut: ...
    def resume(self, worker_id: str) -> WorkerOut: ...
    def stop(self, worker_id: str) -> WorkerOut: ...

class _Hosts:
    def list(self, *, limit: int = 50, cursor: str | None = None) -> Slice[HostOut]: ...
    def of_job(self, job_id: str, *, limit: int = 10) -> Slice[HostOut]: ...
    def get(self, host: str) -> HostOut: ...
    def set(
        self,
        host: str,
        *,
        version: int | tuple[int, ...] | None = None,
        **changes: Unpack[HostChanges],
    ) -> HostOut: ...
    def pause(
        self, host: str, note: str | None = None, *, version: int | tuple[int, ...] | None = None
    ) -> HostOut: ...
    def block(
        self, host: str, note: str | None = None, *, version: int | tuple[int, ...] | None = None
    ) -> HostOut: ...
    def resume(self, host: str, *, version: int | tuple[int, ...] | None = None) -> HostOut: ...
    def unset(self, host: str, *, version: int | tuple[int, ...] | None = None) -> None: ...
    def deletable(
        self, host: str, *, version: int | tuple[int, ...] | None = None
    ) -> HostRuleOut: ...

class _EventFeed:
    def list(
        self,
        *,
        type: str | tuple[str, ...] = "*",
        subject: str | None = None,
        job: str | None = None,
        since: datetime | None = None,
        actor: str | None = None,
        owner: str | None = None,
        after: int = 0,
        sort: Literal["-seq", "seq"] = "-seq",
        limit: int = 50,
        cursor: str | None = None,
    ) -> Slice[EventOut]: ...
    def stream(
        self,
        *,
        topics: str | tuple[str, ...] | None = None,
        job: str | None = None,
        after: int | None = None,
        last_event_id: int | None = None,
    ) -> Iterator[EventOut]: ...
    def stream_of_job(
        self, job_id: str, *, after: int | None = None, last_event_id: int | None = None
    ) -> Iterator[EventOut]: ...

class _AuditLog:
    def list(
        self, *, limit: int = 50, cursor: str | None = None, **terms: Unpack[AuditTerms]
    ) -> Slice[AuditOut]: ...
    def export(
        self, *, format_: Literal["jsonl", "csv"] | None = None, **terms: Unpack[AuditTerms]
    ) -> Iterator[bytes]: ...

class _SiteSettings:
    def list(self) -> Slice[SectionOut]: ...
    def get(self, section: str) -> SectionOut: ...
    def put(
        self,
        section: str,
        value: Mapping[str, Any],
        *,
        version: int | tuple[int, ...] | None = None,
    ) -> SectionOut: ...

class _OperationReader:
    def list(self, *, limit: int = 50, cursor: str | None = None) -> Slice[OperationOut]: ...
    def get(self, operation_id: str) -> OperationOut: ...
    def cancel(self, operation_id: str) -> OperationOut: ...

class _Views:
    def list(self, *, page: str | None = None) -> Slice[SavedView]: ...
    def create(
        self, name: str, query: str = "", *, page: str = "jobs", idempotency_key: str | None = None
    ) -> SavedView: ...
    def get(self, view_id: str) -> SavedView: ...
    def edit(
        self,
        view_id: str,
        *,
        name: str | None = None,
        query: str | None = None,
        version: int | tuple[int, ...] | None = None,
    ) -> SavedView: ...
    def delete(self, view_id: str, *, version: int | tuple[int, ...] | None = None) -> None: ...

class _Stats:
    def get(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        step_s: float | None = None,
        owner: Literal["me"] | None = None,
    ) -> StatsOut: ...
    def runs(self, *, since: datetime | None = None, until: datetime | None = None) -> RunsOut: ...
    def pace(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        step_s: float | None = None,
    ) -> PaceOut: ...

class _Attention:
    def get(self) -> AttentionOut: ...
    def dismiss(self, notice: str) -> None: ...
    def restore(self, notice: str | None = None) -> None: ...

class _Meta:
    def get(self) -> MetaOut: ...
    def enums(self) -> EnumsOut: ...
    def schemas(self) -> SchemasOut: ...

class _Monitoring:
    def metrics(self) -> str: ...

class Surface:
    account: _Account
    users: _Users
    tokens: _Tokens
    triggers: _Triggers
    shares: _Shares
    jobs: _Jobs
    groups: _Groups
    results: _Results
    site: _CrawledSite
    pages: _Pages
    templates: _Templates
    schedules: _Schedules
    changes: _ChangeFeed
    webhooks: _Webhooks
    notifications: _Notifications
    sessions: _SiteSessions
    workers: _Workers
    hosts: _Hosts
    events: _EventFeed
    audit: _AuditLog
    settings: _SiteSettings
    operations: _OperationReader
    views: _Views
    stats: _Stats
    attention: _Attention
    meta: _Meta
    monitoring: _Monitoring
