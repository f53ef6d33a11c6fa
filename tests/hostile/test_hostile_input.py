"""Generated bad inputs of every kind: one sentence and exit code 2, or a warning; never a traceback, never a trace.

Reading a checkpoint runs no code from it and imports nothing that only the checkpoint names.
"""

import hashlib
import os
import re
import resource
import signal
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import hostile_checkpoints
import hostile_files
import hostile_options
import pytest

from main import SceneCLI, main

ROOT = Path(__file__).parents[2]
KINDS = {"options": hostile_options, "files": hostile_files, "checkpoints": hostile_checkpoints}
CASES = {f"{kind}: {case.name}": case for kind, module in KINDS.items() for case in module.cases()}
SECONDS = 60  # of a case on a busy machine; most take a tenth of one
BYTES = 12 * 2**30  # of address space for a process of its own
IN_PROCESSES = [
    "options: YAML aliases",
    "options: YAML object",
    "options: flag an endless device as config",
    "options: class os.system",
    "files: gt binary",
    "files: ini percent",
    "files: first image: 100000x100000 PNG",
    "files: video sound.mp4",
    "checkpoints: pickle of os.system in weights",
    "checkpoints: checkpoint's class: train of antigravity.geohash",
]
STARTS = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pty.spawn", "webbrowser.open"}
started = []


def record_start(event, _):
    if event in STARTS:
        started.append(event)


sys.addaudithook(record_start)


def chosen(is_refused):
    """The cases, of which every ninth is quick enough to run always."""
    names = [name for name, case in CASES.items() if case.is_refused == is_refused]
    quick = {name for name in names if "--data.image_size" not in CASES[name].arguments and "weights: " not in name}
    always = set(sorted(quick)[::9]) if is_refused else set()
    return [pytest.param(CASES[name], id=name, marks=[] if name in always else pytest.mark.slow) for name in names]


@pytest.fixture
def one_parser(monkeypatch):
    """Only the parser of the command that is given is built, which is most of the time of a refusal."""
    parsers = SceneCLI.subcommands()

    def use(arguments):
        command = next((argument for argument in arguments if argument in parsers), None)
        if command:
            monkeypatch.setattr(SceneCLI, "subcommands", staticmethod(lambda: {command: parsers[command]}))

    return use


@pytest.fixture
def in_time():
    """A test that hangs ends."""

    def end(*_):
        raise AssertionError(f"not done after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def digests(folder):
    """What every file holds."""
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()}


def check_sentence(case, err):
    sentences = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1
    assert err.splitlines()[-1] == sentences[0]
    assert "Traceback" not in err
    assert re.search(case.says, sentences[0]), sentences[0]
    assert len(sentences[0]) < 1000
    assert sentences[0].isprintable()


def test_there_are_hundreds():
    kinds = Counter(name.partition(":")[0] for name in CASES)
    distinct = {(case.arguments, *((key, id(value)) for key, value in case.files.items())) for case in CASES.values()}
    assert len(CASES) == len(distinct) >= 450
    assert min(kinds.values()) >= 120
    assert sum(not case.is_refused for case in CASES.values()) >= 25


@pytest.mark.parametrize("case", chosen(is_refused=True))
def test_is_refused_in_a_sentence(case, in_tmp, capsys, one_parser, in_time):
    case.write(in_tmp)
    before, modules = digests(in_tmp), set(sys.modules)
    one_parser(case.arguments)
    started.clear()
    with pytest.raises(SystemExit) as exit_:
        main(list(case.arguments))
    out, err = capsys.readouterr()
    check_sentence(case, err)
    assert exit_.value.code == 2
    assert not started
    after = {path: value for path, value in digests(in_tmp).items() if "__pycache__" not in path.parts}
    assert before.items() <= after.items()
    if case.is_found_late:
        assert {path.parts[len(in_tmp.parts)] for path in after.keys() - before.keys()} == {"runs"}
        assert not list(in_tmp.rglob("*.part"))
    else:
        assert (after, out) == (before, "")
        assert not list(in_tmp.rglob("runs"))
    if "--ckpt_path" in case.arguments:
        new = {module.partition(".")[0] for module in set(sys.modules) - modules}
        assert not new & {"trap", "antigravity", "this", "pty", "idlelib", "turtledemo"}


@pytest.mark.slow
@pytest.mark.parametrize("case", chosen(is_refused=False))
def test_works_and_warns(case, in_tmp, capsys, one_parser, in_time):
    case.write(in_tmp)
    before = digests(in_tmp)
    one_parser(case.arguments)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        main(list(case.arguments))
    said = " ".join(str(warning.message) for warning in caught)
    assert re.search(case.says, said), said
    after = digests(in_tmp)
    assert before.items() <= after.items()
    new = [path.relative_to(in_tmp) for path in after.keys() - before.keys()]
    assert all(path.parts[0] in ("runs", "tracks") and path.suffix != ".part" for path in new), new


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_PROCESSES)
def test_a_process_of_its_own_is_refused_too(name, in_tmp):
    case = CASES[name]
    case.write(in_tmp)
    before = digests(in_tmp)
    process = subprocess.run(
        [sys.executable, ROOT / "main.py", *case.arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES)),
    )
    check_sentence(case, process.stderr)
    assert (process.returncode, process.stdout) == (2, "")
    assert digests(in_tmp) == before
