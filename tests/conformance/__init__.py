"""What every provider kind has to pass against recordings of its own wire form: see forms.py."""
