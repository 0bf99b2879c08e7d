"""`python -m gateway`: one gateway process."""

import sys

from gateway.server import main

sys.exit(main())
