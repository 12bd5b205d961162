"""Extraction of links, text and metadata from pages."""
