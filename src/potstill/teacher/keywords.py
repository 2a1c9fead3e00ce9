"""Keyword arguments of an ASE calculator: a misspelled one is refused, which ASE would store and never read.

``Calculator.__init__`` of ASE takes any keyword argument: ``epsilo`` in the place of ``epsilon`` changes nothing and says
nothing.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from potstill.core.registry import nearest

WHOLE = re.compile(r"self\.parameters(?!\s*[.\[:])|self\.parameters\.(items|keys|values|copy)\b")  # any name may count
OF_ASE = "ase.calculators.calculator"  # whose own keywords every calculator has


def fault_of_keywords(made_by: Callable[..., Any], options: Mapping[str, Any]) -> str:
    """Return why a callable cannot take these keyword arguments, in words; empty where it may.

    Parameters
    ----------
    made_by
        Class of a calculator, or a function that makes one.
    options
        Keyword arguments.

    Returns
    -------
    str
        A missing or unknown argument of the signature; or an option that a calculator of ASE's base class stores under a
        name that neither its default parameters nor its code has. Calculators that write input files, or read their
        parameters as a whole, take any name.
    """
    if fault := _fault_of_signature(made_by, options):
        return fault
    if not inspect.isclass(made_by) or not _stores_anything(made_by):
        return ""
    known, code = _named(made_by), _code_of(made_by)
    if WHOLE.search(code):
        return ""
    for name in options:
        if name not in known and not re.search(rf"['\"]{name}['\"]|parameters\.{name}\b", code):
            return f"no option '{name}'; {nearest(name, known - {'self', 'kwargs', 'args'})}"
    return ""


def _fault_of_signature(made_by: Callable[..., Any], options: Mapping[str, Any]) -> str:
    try:
        signature = inspect.signature(made_by)
    except ValueError:  # a compiled callable states no signature
        return ""
    arguments = signature.parameters
    if not any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values()):
        for name in sorted(set(options) - set(arguments)):
            return f"no option '{name}'; {nearest(name, arguments)}"
    try:
        signature.bind(**options)
    except TypeError as error:
        return str(error)
    return ""


def _stores_anything(made_by: type) -> bool:
    """Return whether ASE's base class takes what is left of the keywords, for a calculator that writes no files."""
    from ase.calculators.calculator import Calculator

    files = any(hasattr(made_by, name) for name in ("write_input", "template", "command"))
    return issubclass(made_by, Calculator) and not files and bool(made_by.default_parameters)


def _named(made_by: type) -> set[str]:
    """Return the default parameters of a calculator and the arguments that it and its bases name."""
    named = set(made_by.default_parameters)  # type: ignore[attr-defined]
    for base in made_by.__mro__:
        if "__init__" in vars(base) and base is not object:
            named |= set(inspect.signature(base.__init__).parameters)  # type: ignore[misc]
    return named


def _code_of(made_by: type) -> str:
    """Return the code of a calculator and its bases, without that of ASE's base classes."""
    found = []
    for base in made_by.__mro__:
        if base.__module__ in (OF_ASE, "ase.calculators.abc", "builtins"):
            continue
        try:
            found.append(inspect.getsource(base))
        except (OSError, TypeError):
            return "self.parameters as a whole"  # unknown code may read any name
    return "\n".join(found)
