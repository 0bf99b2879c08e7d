"""Whole journeys through `sluice up` and its parts, as a user takes them."""
