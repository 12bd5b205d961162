"""The documentation site: pages of `docs/`, generated references, llms.txt, built by Zensical."""
