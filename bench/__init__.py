"""How fast, beside two floors in the same run. `python -m bench` prints a table; nothing is asserted.

`python -m bench.pages` prints the slowest and heaviest pages of a browser.
"""

import os

# Measured on this machine, without a client that signs.
os.environ.setdefault("CDS_TRIAL", "true")
