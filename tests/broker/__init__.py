"""The broker, asked for everything that a Dramatiq broker promises."""
