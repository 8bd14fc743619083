"""Encoders of speech, text and pairs, on packed batches.

torch 2.10 asks for the user's name when it first makes an optimizer, and fails for a user without one, as in
containers that run under any number; told where its cache lies, it does not ask (newer versions take the same folder).
"""

import getpass
import os
import tempfile

try:
    getpass.getuser()
except (KeyError, OSError, ImportError):
    folder = os.path.join(tempfile.gettempdir(), f"torchinductor_uid_{os.getuid()}")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", folder)
