"""Which token proves to a server who asks: given by the environment, or kept by `login`."""

from crawlyard.cli import kept
from crawlyard.client.transport import token_given
from crawlyard.errors import Unauthenticated


def token_for(url: str) -> str:
    """Return the token for the server at *url*.

    Raises:
        Unauthenticated: there is none.
    """
    token = token_given() or kept.read().tokens.get(kept.key(url), "")
    if not token:
        raise Unauthenticated(f"no token for {url}: sign in by `crawlyard login {url}`")
    return token


def keep(url: str, token: str) -> None:
    """Keep the token for a server, in a file that nobody else may read."""
    kept.write(kept.read().with_token(url, token))


def forget(url: str) -> bool:
    """Forget the token for a server; tell whether there was one."""
    known = kept.read()
    if kept.key(url) not in known.tokens:
        return False
    kept.write(known.with_token(url, None))
    return True
