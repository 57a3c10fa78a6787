"""`python -m bpflens`."""

import sys

from bpflens.cli import main

sys.exit(main())
