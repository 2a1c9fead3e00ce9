"""Sets up an environment in steps: interpreter, packages, source code, weights, proof.

A step whose result exists is skipped. A setup that failed, was stopped, or lacked weights therefore continues with the same
command. ``setup.log`` contains the output of its programs.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from potstill.core.checksums import sha256_of_file
from potstill.core.errors import InputError, PotstillError
from potstill.core.files import sealed
from potstill.environments.builds import Build, choose_build, unreachable
from potstill.environments.catalog import Environment
from potstill.environments.installed import Installed, installed
from potstill.execute.program import Ended, run_program

HOURS = 3600.0
VERSION = "import sys; print('%d.%d.%d' % sys.version_info[:3])"


@dataclass(frozen=True)
class Options:
    """Choices of the user.

    Parameters
    ----------
    weights
        File or folder of weights to copy.
    checkpoints
        Names of released weights to download, where the program has such.
    repository
        Checkout to use in place instead of a clone.
    python
        Interpreter to make the environment with.
    requirements
        List of packages instead of the pinned one.
    build
        Name of a build of PyTorch; by the GPUs of this machine where None.
    """

    weights: Path | None = None
    checkpoints: tuple[str, ...] = ()
    repository: Path | None = None
    python: Path | None = None
    requirements: Path | None = None
    build: str | None = None


def setup(
    environment: Environment,
    options: Options,
    *,
    say: Callable[[str], None],
    prove: Callable[[], Sequence[str]] | None = None,
) -> Installed:
    """Set up an environment, or continue an unfinished setup.

    Parameters
    ----------
    environment
        Recipe of the environment.
    options
        The user's choices.
    say
        Function called with one line about each step.
    prove
        Function that makes structures in the environment and returns a line about each; skipped where it ran before.

    Returns
    -------
    Installed
        Environment with its record.

    Raises
    ------
    InputError
        If the user's interpreter, checkout or weights do not fit, or another process sets it up.
    PotstillError
        If a command failed. The message names its last line and the log.
    """
    given = {"--weights": options.weights or options.checkpoints, "--repository": options.repository}
    for option, known in (("--weights", environment.accept_weights), ("--repository", environment.repository)):
        if given[option] and not known:
            raise InputError(f"{environment.name} takes no {option}; set it in the config of the teacher")
    if options.build and not environment.builds:
        raise InputError(f"{environment.name} has no builds to choose from; give a list of packages by --requirements")
    place = installed(environment.name)
    build, why = _build(environment, options, place)
    if build is not None:
        environment = replace(environment, pythons=build.pythons)
    place.folder.mkdir(parents=True, exist_ok=True)
    steps: list[tuple[str, Callable[[Installed], tuple[Installed, str]]]] = [
        ("interpreter", lambda at: _interpreter(environment, options, at)),
        ("packages", lambda at: _packages(environment, options, at, build)),
    ]
    if environment.repository:
        steps.append(("source code", lambda at: _repository(environment, options, at)))
    if environment.accept_weights is not None:
        steps.append(("weights", lambda at: _weights(environment, options, at)))
    if prove is not None:
        steps.append(("proof", lambda at: _proof(prove, at)))
    with _alone(place):
        if build is not None:
            others = ", ".join(other.name for other in environment.builds if other != build)
            say(f"build of PyTorch: {build.name} ({why}); others by --build: {others}")
        for number, (name, step) in enumerate(steps, start=1):
            say(f"{number}/{len(steps)} {name} ...")
            place, result = step(place)
            say(f"{number}/{len(steps)} {name}: {result}")
    return place


@contextmanager
def _alone(place: Installed) -> Iterator[None]:
    with (place.folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process is setting up {place.name} in {place.folder}; wait until it has finished"
            ) from None
        yield


def find_python(environment: Environment, given: Path | None) -> tuple[Path, str]:
    """Return an interpreter for the environment, and its version.

    Raises
    ------
    InputError
        If there is none, or the given one has another version.
    """
    wanted = " or ".join(environment.pythons)
    if given is not None:
        version = _version_of(given)
        if version is None:
            raise InputError(f"{given} is no working Python interpreter")
        if version.rpartition(".")[0] not in environment.pythons:
            raise InputError(f"{given} is Python {version}; {environment.name} needs {wanted}")
        return given.absolute(), version
    for minor in environment.pythons:
        for candidate in _candidates(minor):
            version = _version_of(candidate)
            if version is not None and version.rpartition(".")[0] == minor:
                return candidate, version
    first = environment.pythons[0]
    raise InputError(
        f"{environment.name} needs Python {wanted}, and none was found on PATH or under pyenv\n"
        f"  install one, such as:  pyenv install {first}   or:  conda create -n python{first} python={first}\n"
        f"  then go on with:  potstill setup {environment.name} --python /path/to/python{first}"
    )


def _interpreter(environment: Environment, options: Options, place: Installed) -> tuple[Installed, str]:
    there = _version_of(place.python) if place.record.get("python") else None  # without the record the step was cut short
    minor = there.rpartition(".")[0] if there else None
    if there and minor in environment.pythons and options.python is None:
        return place, f"Python {there}, there already"
    python, version = find_python(environment, options.python)
    if there == version:
        return place, f"Python {there}, there already"
    shutil.rmtree(place.folder / "venv", ignore_errors=True)
    _run(place, "making the virtual environment", [python, "-m", "venv", place.folder / "venv"])
    return place.update(
        python={"made_with": str(python), "version": version}, requirements=None, proof={}
    ), f"Python {version}"


def _build(environment: Environment, options: Options, place: Installed) -> tuple[Build | None, str]:
    """Return the build of PyTorch to install and why; None where the user's own list, or no list, decides it."""
    own = options.requirements or (place.record.get("own_requirements") and options.build is None)
    if not environment.builds or own:
        return None, ""
    there = place.record.get("build")
    if there is None and place.record.get("requirements"):
        there = environment.builds[1].name  # earlier versions knew no other
    if options.build is None and there in [build.name for build in environment.builds]:
        return choose_build(environment.builds, there)[0], "as installed"
    return choose_build(environment.builds, options.build)


def _packages(environment: Environment, options: Options, place: Installed, build: Build | None) -> tuple[Installed, str]:
    text = _list_of(environment, options, build)
    digest = hashlib.sha256(text.encode()).hexdigest()
    kept = place.folder / "requirements.txt"
    if place.record.get("requirements") == digest:
        return place, "there already"
    if place.record.get("own_requirements") and options.requirements is None and build is None:
        return place, f"there already, from {kept}"
    kept.write_text(text, encoding="utf-8")
    _install(place, kept)
    versions = versions_in(place, environment.packages)
    place = place.update(
        requirements=digest,
        own_requirements=options.requirements is not None,
        build=build.name if build else None,
        packages=dict(versions),
        proof={},
    )
    return place, ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())


def _list_of(environment: Environment, options: Options, build: Build | None) -> str:
    """Return the list of packages to install: the user's, or the pinned one with a build of PyTorch."""
    if options.requirements:
        return options.requirements.read_text(encoding="utf-8")
    pinned = resources.files("potstill.environments").joinpath(environment.requirements).read_text(encoding="utf-8")
    return "\n".join([*build.lines, pinned]) if build else pinned


def _install(place: Installed, packages: Path) -> None:
    """Install a list of packages; name the addresses that could not be reached, since pip blames the packages."""
    log = place.folder / "setup.log"
    before = log.stat().st_size if log.exists() else 0
    try:
        _run(place, "installing packages", [place.python, "-m", "pip", "install", "--no-input", "-r", packages])
    except PotstillError as error:
        output = log.read_bytes()[before:].decode(errors="replace")
        lost = unreachable(packages.read_text(encoding="utf-8").splitlines(), output)
        if not lost:
            raise
        raise PotstillError(
            f"installing packages failed: {' and '.join(lost)} could not be reached\n"
            f"  check the network and proxy, or put the address of a mirror into a copy of {packages}\n"
            f"  then go on with:  potstill setup {place.name} [--requirements COPY]\n"
            f"  all of its output is in {log}"
        ) from error


def _repository(environment: Environment, options: Options, place: Installed) -> tuple[Installed, str]:
    own = options.repository.absolute() if options.repository else None
    checkout = own or place.repository
    if checkout is None or (own is None and environment.lacking_files(checkout)):
        checkout = place.folder / "repository"
        _clone(environment, place, checkout)
    lacking = environment.lacking_files(checkout)
    if lacking:
        raise InputError(
            f"{checkout} is an incomplete checkout of {environment.name}: it lacks {', '.join(lacking)}\n"
            f"  clone it with:  git clone {environment.repository}   and give it by --repository"
        )
    commit = commit_of(checkout)
    changed = place.record.get("repository") != {"path": str(checkout), "commit": commit}
    if changed:
        place = place.update(repository={"path": str(checkout), "commit": commit}, proof={})
    return place, f"{checkout}, commit {(commit or 'unknown')[:10]}" + ("" if changed else ", there already")


def _clone(environment: Environment, place: Installed, checkout: Path) -> None:
    shutil.rmtree(checkout, ignore_errors=True)
    variables = {"GIT_LFS_SKIP_SMUDGE": "1", "GIT_TERMINAL_PROMPT": "0"}
    partial = checkout.with_name("repository.part")
    shutil.rmtree(partial, ignore_errors=True)
    mend = f"  clone {environment.repository} elsewhere and go on with:  potstill setup {environment.name} --repository PATH"
    _run(place, "cloning", ["git", "clone", environment.repository, partial], variables, mend)
    _run(place, "checking out", ["git", "-C", partial, "checkout", "--quiet", environment.commit], variables, mend)
    partial.rename(checkout)


def _weights(environment: Environment, options: Options, place: Installed) -> tuple[Installed, str]:
    known: dict[str, dict[str, str | int]] = {
        name: facts for name, facts in place.record.get("weights", {}).items() if (place.weights / name).is_file()
    }
    taken: Mapping[str, Path] = {}
    if options.weights is not None:
        if not options.weights.exists():
            raise InputError(f"--weights: no file or folder at {options.weights}")
        taken = _accept(environment, options.weights)
    asked = options.checkpoints or (() if known or taken else environment.default_weights)
    missing = [name for name in asked if not any(file.startswith(f"{name}/") for file in known)]
    if missing and environment.fetch_weights is not None:
        taken = {**taken, **_fetch(environment, missing, place)}
    elif missing or not (known or taken):
        raise InputError(
            f"{environment.name} has no weights yet, and no script can download them\n"
            f"  download {environment.weights_from}\n"
            f"  then go on with:  potstill setup {environment.name} --weights PATH"
        )
    for name, file in taken.items():
        target = place.weights / name
        with sealed(target) as temporary:
            shutil.copyfile(file, temporary)
        known[name] = {"bytes": target.stat().st_size, "sha256": sha256_of_file(target).removeprefix("sha256:")}
    if taken:
        place = place.update(weights=known, proof={})
    shutil.rmtree(place.folder / "download", ignore_errors=True)
    return place, ", ".join(f"{name} ({int(facts['bytes']) / 1e6:.1f} MB)" for name, facts in known.items())


def _fetch(environment: Environment, names: Sequence[str], place: Installed) -> Mapping[str, Path]:
    target = place.folder / "download"
    code = environment.fetch_weights or ""
    mend = f"  download {environment.weights_from}\n  then go on with:  potstill setup {environment.name} --weights PATH"
    _run(place, "downloading weights", [place.python, "-c", code, target, *names], {"HF_HUB_OFFLINE": "0"}, mend)
    return _accept(environment, target)


def _accept(environment: Environment, path: Path) -> Mapping[str, Path]:
    assert environment.accept_weights is not None  # noqa: S101 - else there is no step for weights
    return environment.accept_weights(path)


def _proof(prove: Callable[[], Sequence[str]], place: Installed) -> tuple[Installed, str]:
    if place.proved:
        return place, f"there already: {', '.join(place.record['proof']['structures'])}"
    started = time.monotonic()
    structures = list(prove())
    seconds = round(time.monotonic() - started, 1)
    return place.update(proof={"structures": structures, "seconds": seconds}), f"{', '.join(structures)} in {seconds:.0f} s"


def versions_in(place: Installed, packages: Sequence[str]) -> dict[str, str | None]:
    """Return versions of distributions in an environment, as its interpreter finds them; None for a missing one.

    Raises
    ------
    PotstillError
        If the interpreter does not run.
    """
    code = (
        "import json, sys\n"
        "from importlib import metadata\n"
        "found = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n        found[name] = metadata.version(name)\n"
        "    except metadata.PackageNotFoundError:\n        found[name] = None\n"
        "print(json.dumps(found))\n"
    )
    command = [str(place.python), "-I", "-c", code, *packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise PotstillError(
            f"the interpreter {place.python} does not run: {error}\n  make it again with:  potstill setup {place.name}"
        ) from error
    return dict(json.loads(done.stdout))


def commit_of(checkout: Path) -> str | None:
    """Return the commit of a checkout, or None where git finds none (or that of a repository around it)."""
    command = ["git", "-C", str(checkout), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    top, _, commit = done.stdout.strip().partition("\n")
    return commit or None if done.returncode == 0 and Path(top).resolve() == checkout.resolve() else None


def _candidates(minor: str) -> Iterator[Path]:
    roots = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    on_path = shutil.which(f"python{minor}")
    if on_path:
        yield Path(on_path)
    yield from sorted(roots.glob(f"versions/{minor}.*/bin/python"), reverse=True)


def _version_of(python: Path) -> str | None:
    try:
        done = subprocess.run([str(python), "-I", "-c", VERSION], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _run(
    place: Installed,
    what: str,
    command: Sequence[str | Path],
    variables: Mapping[str, str] | None = None,
    mend: str = "",
) -> Ended:
    log = place.folder / "setup.log"
    ended = run_program(command, log, timeout_seconds=6 * HOURS, environment=variables)
    if ended.code != 0:
        message = f"{what} failed ({ended.how}): {ended.last_line}\n  all of its output is in {log}"
        raise PotstillError(message + (f"\n{mend}" if mend else f"\n  go on with:  potstill setup {place.name}"))
    return ended
