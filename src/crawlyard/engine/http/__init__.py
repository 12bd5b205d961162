"""The HTTP client: connections, parsing, decoding, the address guard."""
