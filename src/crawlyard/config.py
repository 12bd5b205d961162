"""Settings, in order of precedence: flags, CRAWLYARD_*, crawlyard.toml, these defaults."""

import os
import re
from datetime import timedelta
from enum import StrEnum, auto
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

DEFAULT_LEASE_S = 8.0


def _endless(value: object) -> object:
    """Return 0 for ``forever``, the word that a job's own retention uses."""
    return 0.0 if isinstance(value, str) and value.strip().lower() == "forever" else value


def _split(value: object) -> object:
    """Return the words of a comma-separated text."""
    if not isinstance(value, str):
        return value
    return tuple(word for word in (part.strip() for part in value.split(",")) if word)


def _networks(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        try:
            ip_network(word)
        except ValueError as error:
            example = "expected an address or a network such as 10.0.0.0/8"
            raise ValueError(f"{example}, and {error}") from None
    return words


_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(:(?P<port>\d{1,5}))?/?"
)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def _origin(text: str) -> str:
    """Return an origin as browsers write it: in lower case, without a default port."""
    if not text:
        return ""
    match = _ORIGIN.fullmatch(text.strip().lower())
    if match is None or int(match["port"] or 0) > 65535:
        example = "http:// or https://, a host and perhaps a port, such as https://yard.example.org"
        raise ValueError(f"expected {example}")
    scheme, host, port = match["scheme"], match["host"], match["port"]
    return f"{scheme}://{host}" + (f":{port}" if port and port != _DEFAULT_PORTS[scheme] else "")


PREFIX = "CRAWLYARD_"

_BESIDE = frozenset({"server", "token", "token_file", "webhook_secret", "supervisor"})
"""Variables that are no settings: for commands, and of a worker process."""

_FOREIGN = re.compile(r"test_.+|service_.+|port|port_.+")
"""Variables for the tests, and those that Kubernetes makes of a service named crawlyard."""


class _Environment(EnvSettingsSource):
    """The environment; a variable that starts like a setting and is none is refused with it."""

    def __call__(self) -> dict[str, Any]:
        found = super().__call__()
        for variable, value in os.environ.items():
            name = variable.removeprefix(PREFIX).lower()
            if name == variable.lower() or name in self.settings_cls.model_fields:
                continue
            if name not in _BESIDE and not _FOREIGN.fullmatch(name):
                found[name] = value
        return found


Words: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Origin: TypeAlias = Annotated[str, AfterValidator(_origin)]
Networks: TypeAlias = Annotated[Words, AfterValidator(_networks)]
Days: TypeAlias = Annotated[float, BeforeValidator(_endless)]


class LogFormat(StrEnum):
    """How a log line is written."""

    LOGFMT = auto()
    JSON = auto()


class Settings(BaseSettings):
    """All settings of an instance; every default works on a laptop."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, toml_file="crawlyard.toml", extra="forbid", frozen=True
    )

    data_dir: Path = Field(
        default_factory=lambda: Path("crawlyard-data"),
        description="Where the embedded store and the workers' lock files are kept.",
    )
    database_url: str = Field(
        default="",
        description="postgresql://… ; empty: SQLite, one file in the data directory.",
    )
    database_direct_url: str = Field(
        default="",
        description="The same database without a pooler that shares connections between "
        "sessions: for notifications and for the locks of workers; empty: database_url.",
    )
    database_connections: int = Field(
        default=10,
        ge=2,
        le=100,
        description="Connections to Postgres that a process has at most, beside the one of a "
        "worker's lock. `crawlyard work` has 3 unless this is set.",
    )
    secret_key: str = Field(
        default="",
        pattern=r"^(.{32,})?$",
        repr=False,
        description="Seals the cookies and sessions of sites that the store keeps, the same for "
        "all processes: at least 32 random characters, as `openssl rand -hex 32` prints; empty: a "
        "key that the store keeps beside them.",
    )
    redis_url: str = Field(
        default="",
        description="redis://… : live progress goes to all processes at once; empty: by the store.",
    )
    jobs: int = Field(default=4, ge=1, le=256, description="Jobs that a worker runs at once.")
    worker_tags: Words = Field(
        default=(),
        description="Tags of a worker, with commas between: it takes jobs that need these.",
    )
    reserve_urgent: int = Field(
        default=0,
        ge=0,
        le=256,
        description="The last free slots of a worker, so many, take urgent jobs alone.",
    )
    preempt_after_s: float = Field(
        default=1.0,
        ge=0.0,
        le=86_400.0,
        description="Seconds that an urgent job waits for a free slot before it takes that of a "
        "low one; 0: it never does.",
    )
    age_after_s: float = Field(
        default=0.0,
        ge=0.0,
        le=31_536_000.0,
        description="Seconds of waiting for which a job rises a level in the queue, up to high; "
        "0: never.",
    )
    browsers: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Browsers that a worker has at most at once; each renders one page at a time.",
    )
    browser_cdp: str = Field(
        default="",
        description="ws://… or http://… : where a Chromium that somebody else runs is "
        "controlled; empty: workers start the installed one.",
    )
    lease_s: float = Field(
        default=DEFAULT_LEASE_S,
        ge=6.0,
        le=600.0,
        description="Seconds without a checkpoint after which a worker is taken for dead.",
    )
    shutdown_s: float = Field(
        default=4.0,
        ge=0.0,
        le=60.0,
        description="Seconds that requests in flight get to finish when a worker stops.",
    )
    user_agent: str = Field(
        default="Crawlyard/0.1",
        min_length=1,
        description="Sent with every request; its first product token is matched in robots.txt.",
    )
    ca_file: Path | None = Field(
        default=None,
        description="PEM file of certificate authorities that crawls, webhooks and the client of "
        "the command line trust in addition to the system's.",
    )
    allow_proxies: Words = Field(
        default=(),
        description="Proxies at private addresses that jobs may use: HOST, IP or CIDR, each with "
        ":PORT or not, with commas between.",
    )
    public_url: Origin = Field(
        default="",
        description="The URL at which people reach `crawlyard serve`, such as "
        "https://yard.example.org, for links, redirects and OpenAPI; empty: links are relative.",
    )
    trusted_proxies: Networks = Field(
        default=(),
        description="Addresses or networks of reverse proxies in front of `crawlyard serve`, with "
        "commas between; X-Forwarded-For and X-Forwarded-Proto from other addresses are ignored.",
    )
    max_connections: int = Field(
        default=1_000,
        ge=1,
        le=100_000,
        description="Open connections of `crawlyard serve`; further ones are answered with 503.",
    )
    paused_ttl_days: Days = Field(
        default=7.0,
        ge=0.0,
        le=3650.0,
        description="Days after which a paused job is cancelled; 0 or forever: never.",
    )
    retention_days: Days = Field(
        default=30.0,
        ge=0.0,
        le=3650.0,
        description="Days for which ended jobs are kept unless they say otherwise; "
        "0 or forever: no end.",
    )
    events_days: Days = Field(
        default=90.0,
        ge=0.0,
        le=3650.0,
        description="Days for which events, deliveries and runs of schedules are kept; "
        "0 or forever: no end.",
    )
    operations_days: Days = Field(
        default=30.0,
        ge=0.0,
        le=3650.0,
        description="Days for which bulk operations and backfills are kept that have ended; "
        "0 or forever: no end.",
    )
    credentials_days: Days = Field(
        default=30.0,
        ge=0.0,
        le=3650.0,
        description="Days for which tokens, sessions and sign-in links are listed that have "
        "expired or were revoked; 0 or forever: no end.",
    )
    usage_days: Days = Field(
        default=400.0,
        ge=0.0,
        le=3650.0,
        description="Days for which it is kept what each user has fetched on a day; "
        "0 or forever: no end.",
    )
    schedule_backlog: int = Field(
        default=10_000,
        ge=1,
        le=10_000_000,
        description="Pending jobs of one owner above which ticks of his schedules are skipped.",
    )
    search_index: bool = Field(
        default=True,
        description="Index the words of pages for the search; off: each search reads pages one "
        "by one.",
    )
    log_level: str = Field(default="warning", description="debug, info, warning or error.")
    log_format: LogFormat = Field(
        default=LogFormat.LOGFMT,
        description="logfmt, or json: an object per line, with timestamp, level, logger and event.",
    )

    @property
    def lease(self) -> timedelta:
        """Return the lease duration."""
        return timedelta(seconds=self.lease_s)

    @property
    def preempt_after(self) -> timedelta | None:
        """Return how long an urgent job waits before it preempts a low one; ``None``: never."""
        return _seconds(self.preempt_after_s)

    @property
    def age_after(self) -> timedelta | None:
        """Return how long a job waits for each level it rises; ``None`` means it never rises."""
        return _seconds(self.age_after_s)

    @property
    def paused_ttl(self) -> timedelta | None:
        """Return how long a job may be paused; ``None`` means forever."""
        return _days(self.paused_ttl_days)

    @property
    def retention(self) -> timedelta | None:
        """Return how long ended jobs are kept; ``None`` means forever."""
        return _days(self.retention_days)

    @property
    def events_kept(self) -> timedelta | None:
        """Return how long events, deliveries and runs are kept; ``None`` means forever."""
        return _days(self.events_days)

    @property
    def operations_kept(self) -> timedelta | None:
        """Return how long ended operations are kept; ``None`` means forever."""
        return _days(self.operations_days)

    @property
    def credentials_kept(self) -> timedelta | None:
        """Return how long credentials are kept once they are invalid; ``None`` means forever."""
        return _days(self.credentials_days)

    @property
    def usage_kept(self) -> timedelta | None:
        """Return how long daily usage is kept; ``None`` means forever."""
        return _days(self.usage_days)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - it ignores what is unknown
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no .env files
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - nor secret files
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources of values, highest precedence first."""
        return init_settings, _Environment(settings_cls), TomlConfigSettingsSource(settings_cls)


def _seconds(number: float) -> timedelta | None:
    return timedelta(seconds=number) if number else None


def _days(number: float) -> timedelta | None:
    return timedelta(days=number) if number else None
