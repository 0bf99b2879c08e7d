"""Asking past requests again: from `done`, as new events, resumable at any place."""
