"""`crawlyard webhooks …`, as installed."""

import re
from collections.abc import Mapping
from typing import Any

from crawlyard import LOCAL, Settings, Yard
from crawlyard.core.events.event import EventName
from crawlyard.services.surface import Surface
from crawlyard.services.webhooks.signing import new_secret, sign_body
from tests.acceptance.shell import Shell
from tests.builders import a_job, its_event
from tests.receiver import Receiver, answer
from tests.services.hooks import JumpingClock

BODY = '{"type":"webhook.test"}'
OPENED = ("http://127.0.0.1:9/", "--allow-address", "127.0.0.1:9")


def create_webhook(shell: Shell, *options: str) -> Mapping[str, Any]:
    webhook = shell.json("webhooks", "create", *OPENED, *options)
    assert isinstance(webhook, dict)
    return webhook


def test_a_secret_is_shown_only_on_creation_and_rotation(either: Shell) -> None:
    webhook = create_webhook(either, "--event", "job.*", "--description", "chat")

    detail = either.run("webhooks", "show", webhook["id"][-8:], "--json")
    listed = either.run("webhooks", "list", "--json")
    rotated = either.json("webhooks", "rotate", webhook["id"])

    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", webhook["secret"])
    assert webhook["events"] == ["job.*"]
    assert "whsec_" not in detail.stdout + listed.stdout + detail.stderr + listed.stderr
    assert webhook["id"] in detail.stdout
    assert webhook["id"] in listed.stdout
    assert isinstance(rotated, dict)
    assert rotated["secret"] != webhook["secret"]
    assert rotated["rotated_until"] is not None


def test_a_webhook_is_edited_disabled_enabled_and_deleted(either: Shell) -> None:
    webhook_id = create_webhook(either)["id"]

    unchanged = either.run("webhooks", "edit", webhook_id)
    edited = either.json("webhooks", "edit", webhook_id, "--event", "job.failed")
    off = either.json("webhooks", "disable", webhook_id)
    refused = either.run("webhooks", "test", webhook_id)
    on = either.json("webhooks", "enable", webhook_id)
    unconfirmed = either.run("webhooks", "delete", webhook_id)
    deleted = either.run("webhooks", "delete", "--yes", webhook_id)
    missing = either.run("webhooks", "show", webhook_id)

    assert unchanged.returncode == 2
    assert unchanged.stderr.startswith("error: webhooks edit: expected something to change: --url")
    assert isinstance(edited, dict)
    assert isinstance(off, dict)
    assert isinstance(on, dict)
    assert (edited["events"], edited["url"]) == (["job.failed"], OPENED[0])
    assert (off["active"], off["disabled_reason"]) == (False, "switched off by local")
    assert (refused.returncode, "enable it first" in refused.stderr) == (5, True)
    assert (on["active"], on["disabled_reason"]) == (True, "")
    assert (unconfirmed.returncode, "--yes" in unconfirmed.stderr) == (2, True)
    assert (deleted.returncode, missing.returncode) == (0, 3)


def test_allowed_addresses_can_be_removed(either: Shell) -> None:
    webhook_id = create_webhook(either)["id"]
    url = "https://192.0.43.8/"

    edited = either.json("webhooks", "edit", webhook_id, "--url", url, "--allow-address", "none")

    assert isinstance(edited, dict)
    assert (edited["url"], edited["allow_addresses"]) == (url, [])


def test_invalid_options_are_usage_errors(either: Shell) -> None:
    for options, message in (
        (("http://127.0.0.1:9/",), "allow it with --allow-address 127.0.0.1"),
        (("ftp://127.0.0.1/",), "http or https"),
        ((*OPENED, "--event", "job.done"), "there are: job.created"),
    ):
        ran = either.run("webhooks", "create", *options)

        assert (ran.returncode, ran.stdout) == (2, ""), options
        assert message in ran.stderr, options


async def test_deliveries_are_listed_and_replayed(shell: Shell) -> None:
    async with Receiver(answer(500, b"oops"), answer(200)) as receiver:
        settings = Settings(data_dir=shell.folder / "crawlyard-data")
        async with Yard.open(settings) as yard:
            webhook = await Surface(yard.services, LOCAL).webhooks.create(
                receiver.url,
                events=("job.created",),
                allow_addresses=(receiver.authority,),
            )
            job = a_job()
            await yard.store.jobs.add(job, its_event(job, EventName.CREATED))
            await yard.deliverer.run(drain=True)

        listed = shell.json("webhooks", "deliveries", webhook.id)
        failed = shell.run("webhooks", "deliveries", webhook.id, "--state", "failed")
        plain = shell.run("webhooks", "deliveries", webhook.id, "-o", "plain")
        assert isinstance(listed, list)
        replay = ("webhooks", "replay", listed[0]["id"], "--idempotency-key", "k")
        first, second = (shell.json(*replay) for _ in range(2))
        again = shell.run("webhooks", "replay", "-", stdin=listed[0]["id"])
        async with Yard.open(settings) as yard:
            await yard.deliverer.run(drain=True)
        delivered = shell.json("webhooks", "deliveries", webhook.id, "--state", "delivered")

    [delivery] = listed
    assert first == second
    assert (delivery["event"], delivery["state"]) == ("job.created", "pending")
    [attempt] = delivery["attempts"]
    assert (attempt["status"], attempt["excerpt"]) == (500, "oops")
    assert (failed.stdout, "no matching deliveries" in failed.stderr) == ("", True)
    assert plain.stdout.startswith("pending\t")
    assert "answered 500 · oops" in plain.stdout
    assert again.returncode == 0, again.stderr
    assert isinstance(delivered, list)
    assert [d["id"] for d in delivered] == [delivery["id"]]
    assert {m.id for m in receiver.messages} == {delivery["id"]}


def test_listing_creates_no_data_directory(shell: Shell) -> None:
    listed = shell.run("webhooks", "list", "--json")

    assert (listed.returncode, listed.stdout) == (0, "[]\n")
    assert list(shell.folder.iterdir()) == []


class TestVerify:
    def test_a_message_is_checked_with_a_secret_from_a_file_or_the_environment(
        self, shell: Shell
    ) -> None:
        secret = new_secret()
        (shell.folder / "secret").write_text(f"{secret}\n")
        words = self.words(secret)

        by_file = shell.run("webhooks", "verify", "--secret-file", "secret", *words, stdin=BODY)
        by_env = shell.run(
            "webhooks", "verify", *words, stdin=BODY, env={"CRAWLYARD_WEBHOOK_SECRET": secret}
        )

        for ran in (by_file, by_env):
            assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "verified\n")
        assert sorted(p.name for p in shell.folder.iterdir()) == ["secret"]

    def test_failures_are_explained(self, shell: Shell) -> None:
        env = {"CRAWLYARD_WEBHOOK_SECRET": new_secret()}
        words = self.words(new_secret())

        wrong = shell.run("webhooks", "verify", *words, stdin=BODY, env=env)
        none = shell.run("webhooks", "verify", *words, stdin=BODY)
        unreadable = shell.run("webhooks", "verify", "--secret-file", "none", *words, stdin=BODY)

        assert wrong.returncode == 1
        assert wrong.stderr == "not verified: no matching signature found\n"
        assert (none.returncode, "CRAWLYARD_WEBHOOK_SECRET" in none.stderr) == (2, True)
        assert (unreadable.returncode, "cannot read none" in unreadable.stderr) == (2, True)

    def words(self, secret: str) -> list[str]:
        headers = sign_body("msg_1", JumpingClock().wall(), BODY.encode(), [secret])
        return [
            *("--id", headers["webhook-id"]),
            *("--timestamp", headers["webhook-timestamp"]),
            *("--signature", headers["webhook-signature"]),
        ]
