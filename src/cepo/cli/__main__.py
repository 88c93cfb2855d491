"""`python -m cepo.cli`."""

import sys

from cepo.cli import main

sys.exit(main())
