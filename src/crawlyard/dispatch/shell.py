"""App for Procrastinate's command line: ``procrastinate --app crawlyard.dispatch.shell.app``.

It uses the database named by CRAWLYARD_DATABASE_URL or `crawlyard.toml`.
"""

from crawlyard.config import Settings
from crawlyard.dispatch.tickets import app_on

_settings = Settings()

app = app_on(_settings.database_direct_url or _settings.database_url)
"""Procrastinate app on the instance's database."""
