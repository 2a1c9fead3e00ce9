"""The build of PyTorch that the hardware needs, and an index that cannot be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.core.errors import InputError
from potstill.environments import ENVIRONMENTS
from potstill.environments.builds import capabilities_here, choose_build, unreachable

WITH_BUILDS = [name for name, environment in ENVIRONMENTS.items() if environment.builds]


@pytest.mark.parametrize("name", WITH_BUILDS)
class TestChoice:
    def chosen(self, name: str, wanted: str | None = None) -> str:
        return choose_build(ENVIRONMENTS[name].builds, wanted)[0].name

    def test_no_card_is_the_build_for_cpus(self, name, cards):
        cards(None)
        assert self.chosen(name) == "cpu"
        cards("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver", code=9)
        assert self.chosen(name) == "cpu"

    @pytest.mark.parametrize(
        ("capability", "moldiff", "mattergen"),
        [
            ("7.0", "cuda-11.3", "cuda-11.8"),
            ("8.6", "cuda-11.3", "cuda-11.8"),
            ("8.9", "cuda-12.1", "cuda-11.8"),
            ("9.0", "cuda-12.1", "cuda-11.8"),
            ("12.0", "cuda-12.8", "cuda-12.8"),
        ],
    )
    def test_a_card_has_a_build_with_code_for_it(self, name, cards, capability, moldiff, mattergen):
        cards(f"{capability}\\n")
        assert self.chosen(name) == {"moldiff": moldiff, "mattergen": mattergen}[name]

    def test_two_cards_have_one_build_for_both(self, name, cards):
        cards("8.6\\n12.0\\n")
        assert self.chosen(name) == "cuda-12.8"

    def test_a_card_without_a_build_is_told_of(self, name, cards):
        cards("99.0\\n")
        with pytest.raises(InputError, match=r"compute capability 99(.|\n)*--build(.|\n)*--requirements"):
            self.chosen(name)

    def test_the_users_choice_and_a_wrong_one(self, name, cards):
        cards(None)
        assert self.chosen(name, "cuda-12.8") == "cuda-12.8"
        with pytest.raises(InputError, match=r"did you mean 'cuda-12\.8'"):
            self.chosen(name, "cuda12.8")


@pytest.mark.parametrize("name", WITH_BUILDS)
def test_each_list_pins_every_package_once(name):
    environment = ENVIRONMENTS[name]
    folder = Path(__file__).parents[2] / "src" / "potstill" / "environments"
    common = (folder / environment.requirements).read_text().splitlines()
    for build in environment.builds:
        lines = [line for line in [*build.lines, *common] if line and not line.startswith(("#", "--"))]
        pinned = [line.split("==")[0].lower().replace("_", "-") for line in lines]
        assert all("==" in line for line in lines)
        assert len(pinned) == len(set(pinned))
        assert {"torch", "torch-scatter", "torch-geometric"} <= set(pinned)
        assert set(build.pythons) <= set(environment.pythons)


def test_what_a_card_says(cards):
    cards("8.0\\n8.0\\n")
    assert capabilities_here() == [8.0, 8.0]
    cards('Field "compute_cap" is not a valid field to query.', code=2)
    assert capabilities_here() == []


LOG = """\
Looking in indexes: https://pypi.org/simple, https://download.pytorch.org/whl/cpu
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by \
'NewConnectionError('<HTTPSConnection object>: Failed to establish a new connection: [Errno -2] Name or service not \
known')': /whl/cpu/torch/
ERROR: Cannot install torch==2.2.1+cpu because these package versions have conflicting dependencies.
ERROR: ResolutionImpossible: for help visit https://pip.pypa.io
"""
LINES = (
    "--extra-index-url https://download.pytorch.org/whl/cpu",
    "--find-links https://data.pyg.org/whl/torch.html",
    "torch==1",
)


def test_an_index_that_pip_gave_up_on_is_named():
    assert unreachable(LINES, LOG) == ["https://download.pytorch.org/whl/cpu"]
    assert unreachable(LINES, LOG.replace("total=0", "total=3")) == []
