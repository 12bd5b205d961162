"""Mail: the message of a notification channel."""

from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from crawlyard.core.webhooks.summary import summarize
from crawlyard.services.webhooks.formats import OutgoingMessage, plain_text

_MOST_CHARACTERS = 100_000


def mail_message(outgoing: OutgoingMessage, sender: str, recipient: str) -> EmailMessage:
    """Return the mail about the events of *outgoing*."""
    summary = summarize(outgoing.entries, outgoing.public_url)
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = summary.title
    mail["From"] = sender
    mail["To"] = recipient
    mail["Date"] = format_datetime(outgoing.wall)
    # the same at every attempt, so that a reader can drop duplicates
    domain = parseaddr(sender)[1].rpartition("@")[2]
    mail["Message-ID"] = f"<{outgoing.delivery.id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(f"{plain_text(summary, _MOST_CHARACTERS)}\n")
    return mail
