"""Gemini's translation, both ways, by forms recorded from the public documentation."""
