"""Warnings on the terminal: the first of a kind at once, the others as a count."""

from __future__ import annotations

import logging
import warnings

import pytest

from potstill.cli.common import logs_in
from potstill.run.notices import MOST_CHARACTERS, Notices


@pytest.fixture
def said():
    return []


@pytest.fixture
def log(said, tmp_path):
    """A logger of the package whose warnings go to ``said``."""
    notices = Notices(said.append)
    with logs_in(tmp_path, notices):
        yield logging.getLogger("potstill.test")
        notices.repeat()


def test_a_kind_is_one_line_with_one_example_and_a_count(log, said, tmp_path):
    for k in range(190):
        log.warning("far outside the data: %s", f"S-S at 1.{k:03d} Å")
    assert said == ["  warning: far outside the data: S-S at 1.000 Å"]
    assert (tmp_path / "log.txt").read_text().count("far outside") == 190


def test_counts_come_at_the_end_and_begin_anew(said):
    notices = Notices(said.append)
    logger = logging.getLogger("potstill.test.again")
    logger.addHandler(notices)

    def warn(what):
        logger.warning("far outside the data: %s", what)

    for name in ("S-S", "C-C", "O-O"):
        warn(name)
    logger.warning("a source gave less")
    notices.repeat()
    warn("S-S")
    logger.removeHandler(notices)
    assert said == [
        "  warning: far outside the data: S-S",
        "  warning: a source gave less",
        "  warning: 2 more in log.txt like: far outside the data …",
        "  warning: far outside the data: S-S",
    ]


def test_alerts_are_of_one_kind_by_their_first_words(said):
    notices = Notices(said.append)
    logger = logging.getLogger("potstill.test.alerts")
    logger.addHandler(notices)
    for alert in ("disk: 1 GB free", "rate: 7/hour", "disk: 0.5 GB free"):
        logger.warning("%s", alert)
    logger.removeHandler(notices)
    assert said == ["  warning: disk: 1 GB free", "  warning: rate: 7/hour"]


def test_a_long_warning_is_cut_on_the_terminal(said):
    notices = Notices(said.append)
    notices.handle(logging.LogRecord("potstill", logging.WARNING, "a.py", 1, "word " * 200, None, None))
    assert len(said[0]) <= MOST_CHARACTERS + 11
    assert said[0].endswith("…")


def test_warnings_of_packages_are_counted_and_logged(tmp_path, said):
    notices = Notices(said.append)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with logs_in(tmp_path, notices):
            for _ in range(3):
                warnings.warn("old", FutureWarning, stacklevel=1)
            warnings.warn("odd", UserWarning, stacklevel=1)
            notices.repeat()
    assert said == ["  4 warnings of Python packages in log.txt: FutureWarning 3, UserWarning 1"]
    assert (tmp_path / "log.txt").read_text().count("FutureWarning: old") == 3
