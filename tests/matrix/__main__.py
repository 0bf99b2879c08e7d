"""Prints the README's table of faults."""

from tests.matrix.told import markdown

print(markdown(), end="")
