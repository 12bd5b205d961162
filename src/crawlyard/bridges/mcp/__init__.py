"""Model Context Protocol: tools with which agents run crawls and read their pages."""
