"""`python -m ablate.data.builtin --audit`."""

import sys

from ablate.data.builtin.corpus import main

raise SystemExit(main(sys.argv[1:]))
