"""Names that have changed: the old name, the new name, and how long the old name works.

The policy is in ``docs/config.md``: an old name of the Python interface warns for two minor versions and at least one year
before it is removed.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Renamed:
    """A dotted name that was replaced.

    Parameters
    ----------
    old, new
        Dotted paths, such as ``generate.door`` and ``generate.filter``.
    since
        First version with the new name.
    """

    old: str
    new: str
    since: str


def deprecated(old: str, new: str, since: str, removed_in: str) -> None:
    """Warn the caller of the calling function that a name will be removed.

    Parameters
    ----------
    old, new
        Name that was used, and the name to use instead.
    since
        First version that warns.
    removed_in
        First version without the old name. The test suite fails in that version until the call is removed.

    Examples
    --------
    >>> import warnings
    >>> def open_data(path):
    ...     deprecated("open_data", "open_dataset", since="0.1", removed_in="0.3")
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     open_data("dataset.h5")
    >>> str(caught[0].message)
    'open_data is deprecated since 0.1 and will be removed in 0.3: use open_dataset'
    """
    text = f"{old} is deprecated since {since} and will be removed in {removed_in}: use {new}"
    warnings.warn(text, DeprecationWarning, stacklevel=3)
