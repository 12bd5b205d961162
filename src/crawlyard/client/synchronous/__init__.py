"""The client without `async`, made of `asynchronous`."""
