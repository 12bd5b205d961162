"""Events as rows, numbered in commit order."""
