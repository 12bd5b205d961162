"""For Procrastinate's own command: ``procrastinate --app crawlyard.dispatch.shell.app``.

On the database that CRAWLYARD_DATABASE_URL or `crawlyard.toml` names.
"""

from crawlyard.config import Settings
from crawlyard.dispatch.tickets import app_on

_settings = Settings()

app = app_on(_settings.database_direct_url or _settings.database_url)
"""Procrastinate on the yard's database."""
