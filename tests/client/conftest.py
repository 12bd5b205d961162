"""The applications of the web API, for every test of this folder."""

from tests.web.rig import apps_are_used_again

__all__ = ["apps_are_used_again"]
