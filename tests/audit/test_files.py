"""Gates for a file of the user's own: one that names a source which the file does not have is refused."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.audit.files import audit_file, refuse_run_folder
from potstill.audit.options import AuditConfig
from potstill.core.errors import InputError
from potstill.core.types import Labels
from potstill.dataset import write_part
from potstill.testing.structures import water


@pytest.mark.parametrize("option", ["max_force_per_source", "max_stress_per_source"])
def test_a_gate_of_an_unknown_source_is_refused(tmp_path, option):
    structure = water().with_(id="w-0", source="molecules", labels=Labels(-1.0, np.zeros((3, 3)), None))
    write_part(tmp_path / "mine.h5", [structure], labelled=True)
    with pytest.raises(InputError, match=rf"audit\.{option}: mine\.h5 has no source 'molecule'; did you mean 'molecules'"):
        audit_file(tmp_path / "mine.h5", tmp_path / "out", "", AuditConfig(**{option: {"molecule": 5.0}}))
    assert not (tmp_path / "out" / "audit.json").exists()


def test_a_config_of_the_user_beside_the_data_makes_no_run_folder(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    refuse_run_folder(tmp_path, "potstill audit")
    (tmp_path / "log.txt").write_text("generate\n")
    with pytest.raises(InputError, match="is a run folder"):
        refuse_run_folder(tmp_path, "potstill audit")
