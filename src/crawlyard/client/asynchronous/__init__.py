"""The client with `async` and `await`; `synchronous` is made of it."""
