"""The prose of the source: docstrings begin plainly, options are noun phrases, and each thing has one name.

The rules are those of the contributor's guide. They find wordings that readers of the field stumbled over; a new verb at the
start of a docstring is added to :data:`VERBS`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import potstill

SOURCE = Path(potstill.__file__).parent
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
TEXTS = sorted(p for p in SOURCE.rglob("*") if p.suffix in {".py", ".h", ".cpp", ".html", ".js", ".txt", ".yaml", ".css"})
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

QUESTIONS = frozenset({"Of", "What", "Where", "Who", "Whose", "Whom", "How", "Whether", "That", "Why", "Which", "When"})
VERBS = frozenset(
    re.findall(
        r"\w+",
        """
        Accept Add Adjust Align Allocate Allow Answer Append Apply Ask Assemble Assert Assign Average Become Begin
        Break Bring Build Call Cancel Capture Carry Change Check Choose Claim Clear Close Collect Combine Compare
        Compile Complete Compute Concatenate Connect Continue Convert Copy Correct Count Create Cut Decide Decode
        Decompose Decrease Define Delete Describe Detect Determine Differentiate Disable Discard Displace Display
        Divide Do Download Draw Drift Drop Embed Emit Enable Encode End Enqueue Ensure Enter Estimate Evaluate
        Exchange Exclude Exit Expand Explain Export Extend Extract Fail Fetch Fill Filter Find Finish Fit Fix Flag
        Flush Follow Format Forward Freeze Gather Generate Give Go Group Grow Handle Hash Hide Hold Ignore Implement
        Import Increase Increment Index Infer Initialise Insert Install Integrate Interpolate Invert Iterate Join
        Judge Keep Kick Kill Label Launch Leave Let Limit Link List Load Locate Lock Log Look Make Map Mark Mask
        Match Measure Merge Minimise Mix Modify Move Multiply Mute Name Normalise Note Notify Observe Omit Open
        Order Pack Pad Parse Pass Permute Pick Place Plan Plot Predict Prefer Prepare Print Process Propagate
        Propose Protect Prove Pull Push Put Query Raise Rank Read Rebuild Receive Record Reduce Refer Refuse
        Register Relabel Relax Release Remove Rename Render Repeat Replace Report Request Require Resample Reserve
        Reset Resolve Restart Restore Resume Return Reuse Reverse Rewrite Rotate Round Run Sample Save Scale Screen
        Seal Search Seed Select Send Separate Serve Set Shift Shorten Show Shuffle Silence Simulate Skip Solve Sort
        Split Stack Start State Step Stop Store Strain Stream Strip Submit Subtract Suggest Sum Suppress Swap
        Symmetrise Take Tell Test Thaw Trace Train Transfer Transform Translate Truncate Try Turn Undo Unfreeze
        Unpack Unwrap Update Upgrade Use Validate Verify Visit Wait Warn Weigh Wrap Write Yield Zero
        """,
    )
)
NOT_AN_OPTION = re.compile(
    r"(of|what|where|who|how|whether|which|in which|as|by|for|until|the same|it|they|them)\b", re.IGNORECASE
)
PRIVATE = {
    r"neighbour": "neighbor",
    r"surroundings?\b": "atomic environment",
    r"\b(leash|guard|watchdog)\b": "supervisor",
    r"signs? of life": "heartbeat",
    r"(?<![.\w])doors?\b": "geometry filter",
    r'(?<!")\bpatience\b': "early stopping",
    r"let loose": "runs MD",
}


def documented() -> Iterator[tuple[str, Documented, str]]:
    """Place, node and docstring of everything that has one."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, Documented) and (text := ast.get_docstring(node)):
                name = "" if isinstance(node, ast.Module) else f" {node.name}"
                yield f"{path.relative_to(SOURCE)}{name}: {text.splitlines()[0]}", node, text


def first_word(text: str) -> str:
    return text.split(maxsplit=1)[0].strip(".,:;")


def test_a_function_begins_with_a_verb():
    functions = [
        (place, first_word(text))
        for place, node, text in documented()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert len(functions) > 1000
    assert [place for place, word in functions if word not in VERBS] == []


def test_no_docstring_begins_with_a_question():
    assert [place for place, _, text in documented() if first_word(text) in QUESTIONS] == []


def descriptions() -> Iterator[tuple[str, str]]:
    """File and text of each description of an option."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            field = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Field"
            for keyword in node.keywords if field else ():
                if keyword.arg == "description":
                    yield str(path.relative_to(SOURCE)), keyword.value.value


def test_an_option_is_a_noun_phrase():
    found = list(descriptions())
    assert len(found) > 250
    assert [pair for pair in found if NOT_AN_OPTION.match(pair[1]) or pair[1].endswith(".") or not pair[1].strip()] == []


def test_each_thing_has_one_name():
    found = []
    for path in TEXTS:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            for word, instead in PRIVATE.items():
                if re.search(word, line, re.IGNORECASE):
                    found.append(f"{path.relative_to(SOURCE)}:{number}: {line.strip()} (say: {instead})")
    assert found == []
