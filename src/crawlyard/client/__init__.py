"""A yard over HTTP, in Python: typed, with and without ``async``.

::

    with Client("http://127.0.0.1:8700", token) as yard:
        job = yard.jobs.create({"urls": ["https://docs.example.org/"]})
        for page in yard.jobs.pages(job.id):
            print(page.status, page.url)

What comes back has the shapes that the API writes; what it refuses is raised as the
errors of `crawlyard.errors`, with the whole answer as their ``problem``.
"""

from crawlyard.client.asynchronous.client import AsyncClient
from crawlyard.client.messages import Message
from crawlyard.client.synchronous.client import Client
from crawlyard.client.transport import Server, check_url, server_of

__all__ = ["AsyncClient", "Client", "Message", "Server", "check_url", "server_of"]
