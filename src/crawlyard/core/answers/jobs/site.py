"""The site that a job has crawled, as answers show it."""

from typing import Literal

from crawlyard.core.answers.base import Wire
from crawlyard.core.crawl.site_map import Folder, Neighbours, SiteMap, Step


class FolderOut(Folder, Wire, frozen=True, kw_only=True):
    """The URLs of a job in a folder or on a host, by what happened; `""`: in no folder below."""


class SiteMapOut(Wire, frozen=True, kw_only=True):
    """The folders right below a place (a URL without its scheme), the largest in front."""

    object: Literal["site_map"] = "site_map"
    under: str  # empty: all hosts
    total: FolderOut
    unlisted: int  # folders that are counted in the total alone
    items: tuple[FolderOut, ...]

    @classmethod
    def of(cls, found: SiteMap) -> "SiteMapOut":
        """Return the shape of *found*."""
        return cls(
            under=found.under,
            total=FolderOut.filled(found.total),
            unlisted=found.unlisted,
            items=tuple(map(FolderOut.filled, found.folders)),
        )


class PathStepOut(Step, Wire, frozen=True, kw_only=True):
    """A URL on the way to another; *text* is that of the link to it, on the page before."""


class NeighboursOut(Neighbours, Wire, frozen=True, kw_only=True):
    """The pages before and after one; `position` and `total` are those of a list of all pages."""

    object: Literal["neighbours"] = "neighbours"
