"""A stand-in for the package of the same name that only Colab has, as far as the chapters use it.

Like there, the kernel loads it as an extension before the first cell runs, so that it stands in
`sys.modules`; and `google` has no `__init__.py`, since other packages share that name.
"""

from google.colab import drive

__all__ = ["MessageError", "drive"]


class MessageError(Exception):
    """What Colab raises when the page answers with an error, such as a refusal."""


def load_ipython_extension(shell):
    """Be loaded by `c.InteractiveShellApp.extensions`; nothing else is needed."""
