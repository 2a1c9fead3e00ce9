"""The page of a round: the words of a verdict, what follows, and the frames."""

import numpy as np
import pytest

from potstill.core.types import Structure
from potstill.core.verdict import WORDS
from potstill.report.active_learning import write_round_page


def frame(kit, k, expected):
    water = kit.molecule(k, source="active_learning")
    return Structure(
        water.atomic_numbers,
        water.positions,
        id=water.id,
        source=water.source,
        family=water.family,
        labels=water.labels,
        generator_metadata={"expected_error": expected},
    )


def report(number, mae, *, passed, broken=0):
    ends = ["finished"] * (2 - broken) + ["too_close"] * broken
    return {
        "round": number,
        "passed": passed,
        "forces": {"mae": mae, "limit": 0.03, "unit": "eV/Å"},
        "by_reason": {"regular": {"frames": 1, "mae": mae}, "uncertain": {"frames": 3, "mae": 2 * mae}},
        "broken_trajectories": broken,
        "trajectories": [
            {"start": f"files-{k}", "atoms": 3, "temperature_kelvin": 300.0, "length_ps": 1.0, "ended": end}
            for k, end in enumerate(ends)
        ],
        "refused": {},
        "uncertainty": {"auroc": 0.8, "atoms": 12},
    }


@pytest.fixture
def page(kit, tmp_path):
    frames = kit.make_dataset(tmp_path / "new.h5", [frame(kit, k, float(np.sqrt(k))) for k in range(4)])

    def write(*reports):
        write_round_page(reports, frames, tmp_path / "round.html")
        return kit.read_page(tmp_path / "round.html")

    return write


@pytest.mark.parametrize(("passed", "word", "follows"), [(True, "GO", "end here"), (False, "NO-GO", "joined the dataset")])
def test_the_verdict_has_the_words_of_every_page(page, passed, word, follows):
    text = page(report(1, 0.02 if passed else 0.2, passed=passed)).text
    said = text.split("Force MAE", maxsplit=1)[0].split()[-1]
    assert said == word
    assert said in WORDS.values()
    assert "PASSED" not in text
    assert follows in text


def test_later_rounds_show_a_curve_and_broken_trajectories(page):
    first = page(report(1, 0.2, passed=False))
    later = page(report(1, 0.2, passed=False), report(2, 0.1, passed=False, broken=1))
    assert later.tags.count("svg") == first.tags.count("svg") + 1
    assert "1 of 2 trajectories broke off" in later.text
    assert "1 trajectory too close" in later.text
    assert "force MAE on 1 frame that" in later.text
