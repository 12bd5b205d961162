"""Site map of a crawl: its hosts and folders, and how many of their URLs were fetched."""

from typing import Annotated

from msgspec import Struct

from crawlyard.core.fields import answer_name

MOST_FOLDERS = 60
"""Folders of a map; smaller ones are summed."""


class Folder(Struct, frozen=True, kw_only=True):
    """The URLs of a job in one folder or on one host, counted by what happened to them."""

    name: str  # "guide/", or a host: "docs.example.org/"; empty: what lies in no folder below
    fetched: int
    failed: int
    waiting: int  # in the queue, or never fetched because the job has ended
    redirected: int
    skipped: int  # a rule kept them out


class SiteMap(Struct, frozen=True, kw_only=True):
    """The folders directly below a place, the largest first."""

    under: str  # a place is a URL without its scheme; empty: all hosts
    total: Folder  # all folders, including unlisted ones
    unlisted: int  # folders
    skipped_elsewhere: int = 0  # URLs on hosts that received no request; 0 below a place
    folders: Annotated[tuple[Folder, ...], answer_name("items")]  # at most `MOST_FOLDERS`


class Step(Struct, frozen=True, kw_only=True):
    """A URL on the way from a start URL to a page."""

    url: str
    via: str  # seed, sitemap, listed, link, refresh or external
    depth: int
    page_id: int | None  # of its record
    text: str  # of the link to it on the page before


class Neighbours(Struct, frozen=True, kw_only=True):
    """The pages before and after one in a list of pages."""

    previous: int | None
    next: int | None
    position: int | None  # from 1; of the list of all pages alone
    total: int | None  # likewise


class LinkTarget(Struct, frozen=True, kw_only=True):
    """State of the URL that a link leads to."""

    outcome: str  # fetched, failed, redirected, waiting, skipped or never_found
    status: int | None = None
    page_id: int | None = None
