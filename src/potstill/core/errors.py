"""The exceptions potstill raises on purpose: each message says what was found, what was expected and what to do."""


class PotstillError(Exception):
    """A failure that the user can act upon; the command line prints its message without a traceback."""

    exit_code = 1


class InputError(PotstillError):
    """Error in the user's config, file or option (exit code 2)."""

    exit_code = 2


class MissingExtraError(InputError):
    """Error for an optional package that is not installed; the message holds the command that installs it."""

    def __init__(self, package: str, extra: str, why: str) -> None:
        super().__init__(
            f"{why} needs the package '{package}', which is not installed.\n"
            f"  install it with:  pip install 'potstill[{extra}]'"
        )


class BrokenExtraError(PotstillError):
    """Error for an optional package that is installed and fails on import."""

    def __init__(self, package: str, cause: BaseException) -> None:
        super().__init__(
            f"the package '{package}' is installed but fails on import: {cause!r}\n"
            f"  look at it with:  python -c 'import {package}'"
        )


class OutOfTimeError(PotstillError):
    """Error for reaching the user's time limit; finished work is kept (exit code 124, the same as ``timeout``)."""

    exit_code = 124

    def __init__(self) -> None:
        super().__init__("the time limit has come; what was finished is kept, go on with --resume")


class StructureError(InputError):
    """Error for arrays that cannot be one set of atoms: wrong shape, not finite, or an unknown element."""


class DatasetError(PotstillError):
    """Error for a dataset file that is damaged, of another schema, or inconsistent."""


class RunFolderError(InputError):
    """Error for a run folder that holds another run or is in use."""
