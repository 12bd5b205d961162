"""Advice of messages in words of the command line."""

from crawlyard.cli.render.advice import OPTIONS, with_commands
from crawlyard.core.fields import fields_of
from crawlyard.core.jobs.spec import JobSpec


def test_every_field_has_the_option_of_its_spec() -> None:
    fields = fields_of(JobSpec)
    for name, option in OPTIONS.items():
        assert option == fields[name].flag, name


def test_advice_names_options_and_commands() -> None:
    for message, expected in {
        "10.0.0.1 is private; allow it with allow_addresses=10.0.0.1": (
            "10.0.0.1 is private; allow it with --allow-address 10.0.0.1"
        ),
        "expected a job that keeps HTML (keep_html=true); there is nothing else": (
            "expected a job that keeps HTML (--keep html); there is nothing else"
        ),
        "1 page; text=page-markdown keeps all of a page": (
            "1 page; --text page-markdown keeps all of a page"
        ),
        "no worker is alive; start one": "no worker is alive; start one: crawlyard work",
        "no worker has the tags eu, gpu; start one": (
            "no worker has the tags eu, gpu; start one: crawlyard work --tag eu --tag gpu"
        ),
        "log in to session shop again, then resume the job": (
            "log in to session shop again (crawlyard sessions login shop), then resume the job"
        ),
        "ignore_robots: not granted; an admin can grant it in the settings "
        "(grants: private, ignore_robots)": (
            "--ignore-robots: not granted; an admin can grant it with crawlyard settings grants "
            "--private --ignore-robots"
        ),
        "no page http://a.example/?text=1&allow_private=2": (
            "no page http://a.example/?text=1&allow_private=2"
        ),
    }.items():
        assert with_commands(message) == expected
