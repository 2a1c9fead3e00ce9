"""Comparison of two teachers by their fingerprints: labels of two teachers must never be mixed, nor compared as of one."""

from __future__ import annotations

from collections.abc import Mapping

from potstill.core.errors import InputError


def is_other(found: Mapping[str, str], recorded: Mapping[str, str]) -> bool:
    """Return whether a fingerprint is not the recorded one; any difference in name, version, weights or precision counts."""
    return dict(found) != dict(recorded)


def refuse_other_teacher(who: str, found: Mapping[str, str], recorded: Mapping[str, str], remedy: str) -> None:
    """Refuse a teacher that is not the one of a dataset.

    Parameters
    ----------
    who
        Words for the teacher that was found.
    found, recorded
        Its fingerprint, and the one that the dataset states; where that one is empty, nothing is compared.
    remedy
        Next step of the user.

    Raises
    ------
    InputError
        If they differ; both are named.
    """
    if recorded and is_other(found, recorded):
        one, other = dict(sorted(found.items())), dict(sorted(recorded.items()))
        raise InputError(
            f"{who} is not the one that labelled the dataset:\n  found:   {one}\n  dataset: {other}\n  {remedy}"
        )
