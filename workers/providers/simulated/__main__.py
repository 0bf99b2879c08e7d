"""`python -m workers.providers.simulated`."""

from workers.providers.simulated.server import main

main()
