"""Settings, in order of precedence: flags, CRAWLYARD_*, crawlyard.toml, these defaults."""

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from enum import StrEnum, auto
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_type_hints

from msgspec import Meta, Struct, StructMeta, ValidationError, convert
from msgspec.structs import replace

from crawlyard.core.faults import faults_of
from crawlyard.core.fields import SECRET, Field, about, check_bounds, fields_of
from crawlyard.core.parse import format_value, unknown
from crawlyard.errors import Invalid

DEFAULT_LEASE_S = 8.0


def _endless(value: object) -> object:
    """Return 0 for ``forever``, the word that a job's own retention uses."""
    return 0.0 if isinstance(value, str) and value.strip().lower() == "forever" else value


def _split(value: object) -> object:
    """Return the words of a comma-separated text."""
    if not isinstance(value, str):
        return value
    return tuple(word for word in (part.strip() for part in value.split(",")) if word)


def _networks(value: object) -> object:
    """Return addresses and networks, given as text with commas or as a list."""
    value = _split(value)
    for word in value if isinstance(value, list | tuple) else ():
        try:
            ip_network(word)
        except ValueError as error:
            example = "expected an address or a network such as 10.0.0.0/8"
            raise ValueError(f"{example}, and {error}") from None
    return value


_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(:(?P<port>\d{1,5}))?/?"
)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def _origin(value: object) -> object:
    """Return an origin as browsers write it: in lower case, without a default port."""
    if not value or not isinstance(value, str):
        return value
    match = _ORIGIN.fullmatch(value.strip().lower())
    if match is None or int(match["port"] or 0) > 65535:
        example = "http:// or https://, a host and perhaps a port, such as https://yard.example.org"
        raise ValueError(f"expected {example}")
    scheme, host, port = match["scheme"], match["host"], match["port"]
    return f"{scheme}://{host}" + (f":{port}" if port and port != _DEFAULT_PORTS[scheme] else "")


PREFIX = "CRAWLYARD_"
FILE = "crawlyard.toml"

_BESIDE = frozenset({"server", "token", "token_file", "webhook_secret", "supervisor"})
"""Variables that are not settings: for commands, and of a worker process."""

_FOREIGN = re.compile(r"test_.+|service_.+|port|port_.+")
"""Variables for the tests, and those that Kubernetes makes of a service named crawlyard."""


def _secret_key(value: object) -> object:
    if isinstance(value, str) and 0 < len(value) < _KEY_CHARACTERS:
        raise ValueError(f"expected at least {_KEY_CHARACTERS} characters")
    return value


_KEY_CHARACTERS = 32


def _mail_url(value: object) -> object:
    if value and not (isinstance(value, str) and _MAIL_URL.fullmatch(value)):
        raise ValueError("expected smtp:// or smtps://, maybe USER:PASSWORD@, a host and a port")
    return value


_MAIL_URL = re.compile(r"smtps?://([^\s/@]+@)?[^\s/@:]+(:\d{1,5})?/?")


def _parse_with(parse: Callable[[object], object]) -> Meta:
    """Return metadata of a setting: *parse* is applied before its type and bounds are checked."""
    return Meta(extra={"parse": parse})


Words: TypeAlias = Annotated[tuple[str, ...], _parse_with(_split)]
Origin: TypeAlias = Annotated[str, _parse_with(_origin)]
MailUrl: TypeAlias = Annotated[str, _parse_with(_mail_url)]
Networks: TypeAlias = Annotated[tuple[str, ...], _parse_with(_networks)]
Days: TypeAlias = Annotated[float, _parse_with(_endless)]
_YES = frozenset({"1", "on", "t", "true", "y", "yes"})
_NO = frozenset({"0", "off", "f", "false", "n", "no"})


class LogFormat(StrEnum):
    """Log format: key=value pairs, or one JSON object per line."""

    LOGFMT = auto()
    JSON = auto()


class BridgeName(StrEnum):
    """Bridges of a server: protocols of other programs."""

    FIRECRAWL = auto()
    MCP = auto()


def _bridge_names(value: object) -> object:
    """Return names of bridges, given as text with commas or as a list."""
    value = _split(value)
    for word in value if isinstance(value, list | tuple) else ():
        if word not in [*BridgeName]:
            raise ValueError(f"expected names out of {', '.join(BridgeName)}")
    return value


class _Value(Struct, frozen=True):
    """A value of a setting, with its source."""

    value: object
    variable: str = ""  # of the environment
    in_file: bool = False

    @property
    def source(self) -> str:
        """Source of the value, for the end of an error; empty if a caller passed it."""
        if self.variable:
            return f" (from {self.variable})"
        return f" (from {FILE})" if self.in_file else ""


class _FromAllSources(StructMeta):
    """Creates settings from arguments, the environment, the file and the defaults."""

    def __call__(cls, **options: Any) -> Any:  # noqa: N805 - it is a metaclass
        """Return settings; those in *options* take precedence over the other sources.

        Raises:
            Invalid: settings from any source are invalid or unknown; it names all of these.
        """
        if "named" in options:  # a copy
            return super().__call__(**options)
        fields = settings_fields()
        faults: list[Invalid] = []
        values: dict[str, Any] = {}
        sources = (
            _in_file() | dict(_in_environment(fields)) | {n: _Value(v) for n, v in options.items()}
        )
        for name, setting in sources.items():
            if name not in fields:
                faults.append(_unknown(name, setting, fields))
                continue
            try:
                values[name] = _convert_value(name, setting.value)
            except Invalid as error:
                faults.append(Invalid(name, error.message + setting.source))
        settings = super().__call__(**values, named=frozenset(values))
        try:
            check_bounds(settings)
        except Invalid as error:
            faults += [Invalid(e.field, e.message + sources[e.field].source) for e in error.faults]
        if faults:
            raise Invalid.of(faults)
        return settings


class Settings(Struct, frozen=True, kw_only=True, metaclass=_FromAllSources):
    """All settings of an instance; every default works on a laptop.

    Those that are not passed come from the environment and `crawlyard.toml`.
    """

    data_dir: Annotated[
        Path,
        about(
            "Folder of the embedded database and the workers' lock files.",
        ),
    ] = Path("crawlyard-data")
    database_url: Annotated[
        str,
        about(
            "postgresql://… ; empty: SQLite, one file in the data directory.",
        ),
    ] = ""
    database_direct_url: Annotated[
        str,
        about(
            "The same database without a connection pooler, for notifications and the locks of "
            "workers; empty: database_url.",
        ),
    ] = ""
    database_connections: Annotated[
        int,
        about(
            "Maximum Postgres connections of a process, besides the one of a worker's lock. "
            "`crawlyard work` has 3 unless this is set.",
            least=2,
            most=100,
        ),
    ] = 10
    secret_key: Annotated[
        str,
        _parse_with(_secret_key),
        SECRET,
        about(
            "Encrypts stored cookies and site sessions, the same for all processes: at least 32 "
            "random characters, as `openssl rand -hex 32` prints; empty: a key kept in the same "
            "database.",
            secret=True,
        ),
    ] = ""
    auto_upgrade: Annotated[
        bool,
        about(
            "Upgrade an older database when it is opened. Off, as in containers: only `crawlyard "
            "db upgrade` does; `serve` and `work` wait for the schema of their version, other "
            "commands exit with code 6.",
        ),
    ] = True
    redis_url: Annotated[
        str,
        about(
            "redis://… : shares live progress between processes; empty: through the database.",
        ),
    ] = ""
    jobs: Annotated[
        int,
        about(
            "Jobs that a worker runs at once.",
            least=1,
            most=256,
        ),
    ] = 4
    worker_tags: Annotated[
        Words,
        about(
            "Comma-separated tags of a worker; jobs can require them.",
        ),
    ] = ()
    reserve_urgent: Annotated[
        int,
        about(
            "Slots of a worker that are reserved for urgent jobs.",
            least=0,
            most=256,
        ),
    ] = 0
    preempt_after_s: Annotated[
        float,
        about(
            "Seconds that an urgent job waits for a free slot before it preempts a low-priority "
            "job; 0: never.",
            least=0.0,
            most=86_400.0,
        ),
    ] = 1.0
    age_after_s: Annotated[
        float,
        about(
            "Seconds of waiting after which a job rises one priority level, up to high; 0: never.",
            least=0.0,
            most=31_536_000.0,
        ),
    ] = 0.0
    parse_helpers: Annotated[
        int,
        about(
            "Maximum processes that extract pages for a worker whose crawls are limited by its "
            "processor core, while other cores are free; 0: none.",
            least=0,
            most=64,
        ),
    ] = 3
    browsers: Annotated[
        int,
        about(
            "Maximum browsers of a worker; each renders one page at a time; 0: no rendering.",
            least=0,
            most=64,
        ),
    ] = 2
    browser_cdp: Annotated[
        str,
        about(
            "ws://… or http://… : CDP address of an external Chromium; empty: workers start the "
            "installed one.",
        ),
    ] = ""
    lease_s: Annotated[
        float,
        about(
            "Seconds without a checkpoint after which a worker is treated as lost.",
            least=6.0,
            most=600.0,
        ),
    ] = DEFAULT_LEASE_S
    shutdown_s: Annotated[
        float,
        about(
            "Seconds that requests in flight get to finish when a worker stops.",
            least=0.0,
            most=60.0,
        ),
    ] = 4.0
    user_agent: Annotated[
        str,
        Meta(min_length=1),
        about(
            "Sent with every request; its first product token is matched in robots.txt.",
        ),
    ] = "Crawlyard/0.1"
    ca_file: Annotated[
        Path | None,
        about(
            "PEM file of certificate authorities that crawls, webhooks and the client of the "
            "command line trust in addition to the system's.",
        ),
    ] = None
    allow_proxies: Annotated[
        Words,
        about(
            "Comma-separated proxies at private addresses that jobs may use: HOST, IP or CIDR, "
            "optionally with :PORT.",
        ),
    ] = ()
    public_url: Annotated[
        Origin,
        about(
            "The URL at which people reach `crawlyard serve`, such as https://yard.example.org,"
            " for links, redirects and OpenAPI; empty: links are relative.",
        ),
    ] = ""
    smtp_url: Annotated[
        MailUrl,
        SECRET,
        about(
            "The server that sends mail of notification channels: smtp://USER:PASSWORD@HOST:587 "
            "(STARTTLS) or smtps://…:465; %-encode special characters; empty: no mail.",
            secret=True,
        ),
    ] = ""
    mail_from: Annotated[str, about("The sender of mail, such as crawlyard@example.org.")] = ""
    trusted_proxies: Annotated[
        Networks,
        about(
            "Comma-separated addresses or networks of reverse proxies in front of `crawlyard "
            "serve`; X-Forwarded-For and X-Forwarded-Proto from other addresses are ignored.",
        ),
    ] = ()
    bridges: Annotated[
        tuple[BridgeName, ...],
        _parse_with(_bridge_names),
        about(
            "Comma-separated bridges that `crawlyard serve` turns on: `firecrawl` serves "
            "Firecrawl's API at /v2, `mcp` the Model Context Protocol at /mcp.",
        ),
    ] = ()
    max_connections: Annotated[
        int,
        about(
            "Open connections of `crawlyard serve`; further ones are answered with 503.",
            least=1,
            most=100_000,
        ),
    ] = 1_000
    paused_ttl_days: Annotated[
        Days,
        about(
            "Days after which a paused job is cancelled; 0 or forever: never.",
            least=0.0,
            most=3650.0,
        ),
    ] = 7.0
    retention_days: Annotated[
        Days,
        about(
            "Days to keep ended jobs that have no retention of their own; 0 or forever: no limit.",
            least=0.0,
            most=3650.0,
        ),
    ] = 30.0
    events_days: Annotated[
        Days,
        about(
            "Days to keep events, deliveries and runs of schedules; 0 or forever: no limit.",
            least=0.0,
            most=3650.0,
        ),
    ] = 90.0
    audit_days: Annotated[
        Days,
        about(
            "Days to keep the events of the audit log, at least `events_days`; "
            "0 or forever: no limit.",
            least=0.0,
            most=3650.0,
        ),
    ] = 90.0
    operations_days: Annotated[
        Days,
        about(
            "Days to keep ended bulk operations and backfills; 0 or forever: no limit.",
            least=0.0,
            most=3650.0,
        ),
    ] = 30.0
    credentials_days: Annotated[
        Days,
        about(
            "Days to list expired and revoked tokens, sessions and sign-in links; 0 or forever: "
            "no limit.",
            least=0.0,
            most=3650.0,
        ),
    ] = 30.0
    usage_days: Annotated[
        Days,
        about(
            "Days to keep the daily usage of each user; 0 or forever: no limit.",
            least=0.0,
            most=3650.0,
        ),
    ] = 400.0
    schedule_backlog: Annotated[
        int,
        about(
            "Pending jobs of one owner above which runs of their schedules are skipped.",
            least=1,
            most=10_000_000,
        ),
    ] = 10_000
    search_index: Annotated[
        bool,
        about(
            "Index the words of pages for search; off: each search reads pages one by one.",
        ),
    ] = True
    log_level: Annotated[
        str,
        about(
            "debug, info, warning or error.",
        ),
    ] = "warning"
    log_format: Annotated[
        LogFormat,
        about(
            "logfmt, or json: an object per line, with timestamp, level, logger and event.",
        ),
    ] = LogFormat.LOGFMT
    named: frozenset[str] = frozenset()  # of the settings that don't have their default

    @property
    def lease(self) -> timedelta:
        """`lease_s` as a duration."""
        return timedelta(seconds=self.lease_s)

    @property
    def preempt_after(self) -> timedelta | None:
        """Wait of an urgent job before it preempts a low one; ``None``: never."""
        return _seconds(self.preempt_after_s)

    @property
    def age_after(self) -> timedelta | None:
        """Wait of a job for each level it rises; ``None``: it never rises."""
        return _seconds(self.age_after_s)

    @property
    def paused_ttl(self) -> timedelta | None:
        """Longest pause of a job; ``None``: forever."""
        return _days(self.paused_ttl_days)

    @property
    def retention(self) -> timedelta | None:
        """Retention of ended jobs; ``None``: forever."""
        return _days(self.retention_days)

    @property
    def events_kept(self) -> timedelta | None:
        """Retention of events, deliveries and runs; ``None``: forever."""
        return _days(self.events_days)

    @property
    def audit_kept(self) -> timedelta | None:
        """Retention of the audit log; ``None``: forever."""
        return _days(self.audit_days)

    @property
    def operations_kept(self) -> timedelta | None:
        """Retention of ended operations; ``None``: forever."""
        return _days(self.operations_days)

    @property
    def credentials_kept(self) -> timedelta | None:
        """Retention of invalid credentials; ``None``: forever."""
        return _days(self.credentials_days)

    @property
    def usage_kept(self) -> timedelta | None:
        """Retention of daily usage; ``None``: forever."""
        return _days(self.usage_days)

    def with_values(self, **values: Any) -> "Settings":
        """Return the settings with other *values*, as if a caller had passed them."""
        return replace(self, **values, named=self.named | set(values))

    def __repr__(self) -> str:
        """Return the settings that don't have their default, without secrets."""
        names = sorted(name for name in self.named if not settings_fields()[name].about.secret)
        return f"Settings({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


@cache
def settings_fields() -> Mapping[str, Field]:
    """Return the settings that can be set, by name; `named` is derived."""
    return {name: field for name, field in fields_of(Settings).items() if name != "named"}


@cache
def _hints() -> Mapping[str, Any]:
    return get_type_hints(Settings, include_extras=True)


def _in_file() -> dict[str, _Value]:
    path = Path(FILE)
    if not path.is_file():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Invalid(FILE, str(error)) from error
    return {name: _Value(value, in_file=True) for name, value in content.items()}


def _in_environment(fields: Mapping[str, Field]) -> Iterator[tuple[str, _Value]]:
    """Yield values of the environment, unknown CRAWLYARD_ variables included."""
    for variable, value in os.environ.items():
        if not variable.upper().startswith(PREFIX):
            continue
        name = variable[len(PREFIX) :].lower()
        is_ours = variable.startswith(PREFIX) and name not in _BESIDE
        if name in fields or (is_ours and not _FOREIGN.fullmatch(name)):
            yield name, _Value(value, variable=variable)


def _unknown(name: str, setting: _Value, fields: Mapping[str, Field]) -> Invalid:
    if setting.variable:
        variables = [f"{PREFIX}{each.upper()}" for each in fields]
        return unknown(setting.variable, setting.variable, variables, "setting", prefix=PREFIX)
    return unknown(name, name, [*fields], "setting")


def _convert_value(name: str, value: object) -> Any:
    """Convert a value of a setting to its type.

    Raises:
        Invalid: it is of another type.
    """
    hint, kind = _hints()[name], settings_fields()[name].kind
    try:
        for meta in hint.__metadata__:
            if parse := (meta.extra or {}).get("parse"):
                value = parse(value)
    except ValueError as error:
        value_text = "" if settings_fields()[name].about.secret else f", got {format_value(value)}"
        raise Invalid(name, f"{error}{value_text}") from None
    if kind is Path and isinstance(value, str):
        value = Path(value)
    if kind in (int, float, bool) and isinstance(value, str):
        value = value.strip()
    if kind is bool and str(value).lower() in _YES | _NO:
        value = str(value).lower() in _YES
    try:
        return convert(value, hint, strict=kind not in (int, float))
    except ValidationError as error:
        message = "; ".join(words for _, _, words in faults_of(value, hint, error))
        raise Invalid(name, message) from None


def _seconds(number: float) -> timedelta | None:
    return timedelta(seconds=number) if number else None


def _days(number: float) -> timedelta | None:
    return timedelta(days=number) if number else None
