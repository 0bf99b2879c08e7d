"""The rules of the house: who imports whom, how long a file may be, what a test may touch."""
