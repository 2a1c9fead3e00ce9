"""An environment is made step by step; what is done stays done, and what is lacking is said with what mends it."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from potstill.core.errors import InputError, PotstillError
from potstill.environments import ENVIRONMENTS, Environment, Installed, Options, installed, setup, versions_in
from potstill.environments.builds import Build
from potstill.environments.setup import commit_of, find_python

MINOR = "{}.{}".format(*sys.version_info)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def make_wheel(folder: Path, version: str) -> Path:
    """Wheel of the module ``tinything``, which pip installs without a network."""
    info = f"tinything-{version}.dist-info"
    files = {
        "tinything.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tinything\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(text.encode())}")
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    path = folder / f"tinything-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "downloads" / "tiny.pt"
    path.parent.mkdir()
    path.write_bytes(b"weights" + bytes(1_100_000))
    return path


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def upstream(tmp_path) -> Path:
    """A repository of two commits, the second of which lost its script."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "sample.py").write_text("print('sampled')\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """An environment as the first two steps leave it."""
    folder = tmp_path_factory.mktemp("prepared")
    recipe = Environment(
        "tiny", (MINOR,), "", ("tinything",), str(folder / "nowhere"), "", (("sample.py",),), lambda _: {}, ""
    )
    requirements = folder / "mine.txt"
    requirements.write_text(f"--no-index\n{make_wheel(folder, '1.0')}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTSTILL_HOME", str(folder))
        with pytest.raises(PotstillError, match="cloning failed"):
            setup(recipe, Options(python=Path(sys.executable), requirements=requirements), say=lambda _: None)
        return installed("tiny").folder


@pytest.fixture
def made(prepared, home) -> Installed:
    """A copy of it, where this test looks."""
    shutil.copytree(prepared, home / "environments" / "tiny", symlinks=True)
    return installed("tiny")


@pytest.fixture
def recipe(upstream) -> Environment:
    def accept(path: Path) -> dict[str, Path]:
        if path.suffix != ".pt":
            raise InputError(f"no weights at {path}")
        return {"tiny.pt": path}

    return Environment(
        name="tiny",
        pythons=(MINOR,),
        requirements="moldiff.txt",
        packages=("tinything",),
        repository=str(upstream),
        commit=commit_of(upstream) or "",
        needed_files=(("sample.py",),),
        accept_weights=accept,
        weights_from="tiny.pt from example.org",
    )


def test_all_of_it_and_again(recipe, weights, home, tmp_path):
    said, proofs = [], []
    requirements = tmp_path / "mine.txt"
    requirements.write_text(f"--no-index\n{make_wheel(tmp_path, '1.0')}\n")

    cut_short = home / "environments" / "tiny" / "venv" / "bin" / "python"  # of a setup that was killed before it had pip
    cut_short.parent.mkdir(parents=True)
    cut_short.symlink_to(sys.executable)

    def prove() -> list[str]:
        proofs.append(1)
        return ["NaCl", "Si2"]

    place = setup(
        recipe, Options(weights, python=Path(sys.executable), requirements=requirements), say=said.append, prove=prove
    )
    record = json.loads((home / "environments" / "tiny" / "environment.json").read_text())
    assert record["packages"] == {"tinything": "1.0"}
    assert record["repository"] == {"path": str(place.folder / "repository"), "commit": recipe.commit}
    assert record["weights"]["tiny.pt"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert record["proof"]["structures"] == ["NaCl", "Si2"]
    assert record["python"]["version"].startswith(MINOR)
    assert (place.weights / "tiny.pt").read_bytes() == weights.read_bytes()
    assert "Successfully installed tinything-1.0" in (place.folder / "setup.log").read_text()
    assert said[-1].startswith("5/5 proof: NaCl, Si2 in ")
    log = (place.folder / "setup.log").read_text()

    weights.unlink()  # it was copied
    again = setup(recipe, Options(), say=said.append, prove=prove)
    assert again.record == record
    assert (place.folder / "setup.log").read_text() == log
    assert proofs == [1]
    assert versions_in(again, ("tinything", "absent")) == {"tinything": "1.0", "absent": None}


@pytest.mark.usefixtures("made")
def test_it_stops_at_what_is_lacking_and_goes_on_from_there(recipe, weights):
    said = []
    with pytest.raises(
        InputError, match=r"download tiny\.pt from example\.org\n  then go on with:  potstill setup tiny --weights PATH"
    ):
        setup(recipe, Options(), say=said.append)
    place = installed("tiny")
    assert place.python.is_file()
    assert not place.proved
    made = place.python.lstat().st_mtime_ns
    with pytest.raises(InputError, match="no file or folder at"):
        setup(recipe, Options(weights.with_name("gone.pt")), say=said.append)
    place = setup(recipe, Options(weights), say=said.append)
    assert place.python.lstat().st_mtime_ns == made
    assert "tiny.pt" in place.record["weights"]


def test_one_at_a_time(recipe, made, weights):
    with (made.folder / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is setting up tiny"):
            setup(recipe, Options(weights), say=lambda _: None)
    assert setup(recipe, Options(weights), say=lambda _: None).record["weights"]


@pytest.mark.usefixtures("made")
def test_a_failed_proof_is_no_proof(recipe, weights):
    def fail() -> list[str]:
        raise PotstillError("made 0 of 2 structures")

    with pytest.raises(PotstillError, match="0 of 2"):
        setup(recipe, Options(weights), say=lambda _: None, prove=fail)
    assert not installed("tiny").proved
    assert setup(recipe, Options(), say=lambda _: None, prove=lambda: ["A", "B"]).proved


def test_a_package_that_cannot_be_had(recipe, made, tmp_path):
    missing = tmp_path / "missing.txt"
    missing.write_text("--no-index\nno-such-package-anywhere==1.0\n")
    with pytest.raises(PotstillError, match=r"installing packages failed \(exit code 1\): (.|\n)*setup\.log") as error:
        setup(recipe, Options(requirements=missing), say=lambda _: None)
    assert "no-such-package-anywhere" in (installed("tiny").folder / "setup.log").read_text()
    assert "potstill setup tiny" in str(error.value)
    assert installed("tiny").record == made.record


@pytest.mark.usefixtures("made")
class TestSourceCode:
    def test_a_checkout_of_the_users(self, recipe, upstream, weights, tmp_path):
        git(tmp_path, "clone", "--quiet", str(upstream), "mine")
        (tmp_path / "mine" / "sample.py").rename(tmp_path / "mine" / "other.py")
        with pytest.raises(InputError, match=r"it lacks sample\.py\n  clone it with:  git clone"):
            setup(recipe, Options(weights, repository=tmp_path / "mine"), say=lambda _: None)
        (tmp_path / "mine" / "other.py").rename(tmp_path / "mine" / "sample.py")
        place = setup(recipe, Options(weights, repository=tmp_path / "mine"), say=lambda _: None)
        assert place.repository == tmp_path / "mine"
        assert setup(recipe, Options(), say=lambda _: None).repository == tmp_path / "mine"

        proved = setup(recipe, Options(), say=lambda _: None, prove=lambda: ["A", "B"])
        assert proved.proved
        git(tmp_path / "mine", "commit", "--quiet", "--allow-empty", "-m", "second")
        assert not setup(recipe, Options(), say=lambda _: None).proved

    def test_a_repository_that_cannot_be_cloned(self, recipe, upstream, weights):
        upstream.rename(upstream.with_name("moved"))
        with pytest.raises(PotstillError, match=r"cloning failed(.|\n)*--repository PATH"):
            setup(recipe, Options(weights), say=lambda _: None)


class TestInterpreter:
    def test_none(self, recipe, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
        with pytest.raises(InputError, match=r"Python 3\.8 or (.|\n)*pyenv install 3\.8(.|\n)*--python /path/to/python3\.8"):
            find_python(ENVIRONMENTS["moldiff"], None)

    def test_under_pyenv(self, recipe, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
        python = tmp_path / "versions" / f"{MINOR}.4" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)
        assert find_python(recipe, None)[0] == python

    def test_the_wrong_one(self, tmp_path):
        with pytest.raises(InputError, match=r"needs 3\.6"):
            find_python(Environment(**{**vars(ENVIRONMENTS["moldiff"]), "pythons": ("3.6",)}), Path(sys.executable))
        with pytest.raises(InputError, match="no working Python interpreter"):
            find_python(ENVIRONMENTS["moldiff"], tmp_path / "python")


def test_a_record_that_cannot_be_read(home):
    folder = home / "environments" / "tiny"
    folder.mkdir(parents=True)
    (folder / "environment.json").write_text("{")
    with pytest.raises(InputError, match="potstill setup tiny"):
        installed("tiny")


def test_packages_may_be_all_there_is(made):
    recipe = Environment("tiny", (MINOR,), "mace.txt", ("tinything",))
    lines: list[str] = []
    place = setup(recipe, Options(), say=lines.append, prove=lambda: ["one", "two"])
    assert [line for line in lines if not line.endswith("...")] == [
        f"1/3 interpreter: Python {sys.version.split()[0]}, there already",
        f"2/3 packages: there already, from {place.folder / 'requirements.txt'}",
        lines[-1],
    ]
    assert lines[-1].startswith("3/3 proof: one, two in ")
    assert installed("tiny").proved
    for options in (Options(weights=made.folder), Options(checkpoints=("base",)), Options(repository=made.folder)):
        with pytest.raises(InputError, match="tiny takes no --"):
            setup(recipe, options, say=lines.append)


class TestBuilds:
    """Lists of packages by the hardware; pip finds ``tinything`` in a folder, as it would find PyTorch in an index."""

    @pytest.fixture
    def built(self, recipe, tmp_path) -> Environment:
        def build(name: str, version: str) -> Build:
            return Build(
                name, (MINOR,), None if name == "cpu" else (5.0, 9.0), ("--no-index", str(make_wheel(tmp_path, version)))
            )

        (tmp_path / "nothing.txt").touch()
        nothing = {"requirements": str(tmp_path / "nothing.txt"), "repository": "", "accept_weights": None}
        return replace(recipe, builds=(build("cpu", "1.0"), build("cuda-1", "2.0")), **nothing)

    def packages(self, environment: Environment, options: Options) -> tuple[dict, list[str]]:
        lines: list[str] = []
        return dict(setup(environment, options, say=lines.append).record), lines

    @pytest.mark.usefixtures("made")
    def test_the_build_of_this_machine_is_recorded_and_stays(self, built, monkeypatch):
        monkeypatch.setattr("potstill.environments.builds.capabilities_here", list)
        installed("tiny").update(requirements=None, own_requirements=False)
        record, lines = self.packages(built, Options())
        assert (record["build"], record["packages"]) == ("cpu", {"tinything": "1.0"})
        assert lines[0] == "build of PyTorch: cpu (no NVIDIA GPU here); others by --build: cuda-1"

        monkeypatch.setattr("potstill.environments.builds.capabilities_here", lambda: [8.0])
        assert self.packages(built, Options())[0]["build"] == "cpu"  # a login node and its cluster share the folder
        record, _ = self.packages(built, Options(build="cuda-1"))
        assert (record["build"], record["packages"]) == ("cuda-1", {"tinything": "2.0"})

    @pytest.mark.usefixtures("made")
    def test_an_index_that_cannot_be_reached_is_named(self, built, monkeypatch):
        monkeypatch.setenv("PIP_RETRIES", "1")
        address = "http://127.0.0.1:9/whl/cpu"
        lines = ("--no-index", f"--find-links {address}/torch.html", "no-such-thing==1.0")
        installed("tiny").update(requirements=None, own_requirements=False)
        broken = replace(built, builds=(replace(built.builds[0], lines=lines), built.builds[1]))
        with pytest.raises(
            PotstillError, match=rf"{address}/torch\.html could not be reached\n  check the network"
        ) as error:
            setup(broken, Options(build="cpu"), say=lambda _: None)
        assert "setup.log" in str(error.value)

    def test_a_recipe_without_builds_takes_none(self, recipe):
        with pytest.raises(InputError, match="tiny has no builds to choose from"):
            setup(recipe, Options(build="cpu"), say=lambda _: None)
