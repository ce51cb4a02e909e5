"""Archives made to harm: what they may hold, what is read of them, and what they may say."""

import json
import os
import py_compile
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdlm.archive.names import CRATE, FACTS, complaints
from kdlm.archive.packing import entry
from kdlm.archive.source import is_excluded
from kdlm.archive.unpacking import unpack
from kdlm.cli import main
from kdlm.errors import InputError
from kdlm.reproduce.check import reproduce
from kdlm.reproduce.outcome import Level
from kdlm.reproduce.running import run_commands
from kdlm.reproduce.told import read_object
from kdlm.reproduce.unpacked import open_archive
from kdlm.storage.parquet import write_table
from kdlm.terminal import printable
from tests.forged import RECORDS, STUDY, made_up, repacked

ROOT = Path(__file__).parents[2]
Observed = Callable[[str], None]


def refused(archive: Path, folder: Path) -> str:
    with pytest.raises(InputError) as refusal:
        unpack(archive, folder)
    assert not folder.exists()
    return str(refusal.value)


COMPILED = (
    "source/src/kdlm/__pycache__/cli.cpython-311.pyc", "source/src/kdlm/cli.pyc",
    "source/src/kdlm/cli.so", "source/src/kdlm/cli.cpython-311-x86_64-linux-gnu.so",
    "source/src/kdlm/cli.pyd", "source/src/kdlm/__pycache__/cli.py", "source/x.whl",
)  # fmt: skip

ACTS_BY_ITSELF = (
    "source/.git/config", "source/.GIT/config", "source/.git", "source/.envrc",
    "source/.vscode/settings.json", "source/.idea/x.json", "source/docs/.gitattributes",
    "source/.pre-commit-config.yaml", "source/HEAD", "source/config", "source/GIT~1/x.json",
    "source/src/sitecustomize.py", "source/src/torch/__init__.py", "source/src/x.py",
    "results/s/.git/config.json", "results/s/.vscode/settings.json",
)  # fmt: skip

NOT_FOR_WINDOWS = (
    "source/aux.py", "source/docs/CON.md", "results/s/nul.json", "results/s/com1.x.json",
    "results/s/lpt9/x.json", "results/s /x.json", "results/s./x.json", "results/s/x?.json",
    'results/s/"x".json', "results/s/a|b.json", "results/s/conin$.json",
)  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        *(
            pytest.param(
                name,
                marks=pytest.mark.fault(
                    "an archive with compiled code in its source",
                    area="hostile input",
                    provoked="`__pycache__/*.pyc`, `.pyc`, `.so`, `.pyd` and a wheel in `source/`, "
                    "all checksums right",
                ),
            )
            for name in COMPILED
        ),
        *(
            pytest.param(
                name,
                marks=pytest.mark.fault(
                    "an archive with files that a tool or an import acts on",
                    area="hostile input",
                    provoked="`.git/config`, `.GIT/`, `.envrc`, `.vscode/`, the files of a bare "
                    "repository, `sitecustomize.py` and a package torch beside kdlm",
                ),
            )
            for name in ACTS_BY_ITSELF
        ),
        *(
            pytest.param(
                name,
                marks=pytest.mark.fault(
                    "an archive with names that Windows cannot unpack",
                    area="hostile input",
                    provoked='devices (`aux.py`, `CON.md`, `com1…`), endings in a dot or a space, '
                    '`?`, `"`, a bar',
                ),
            )
            for name in NOT_FOR_WINDOWS
        ),
    ],
)  # fmt: skip
def test_names_that_no_archive_has(
    name: str, tiny: dict[str, Any], tmp_path: Path, observed: Observed
) -> None:
    archive = repacked(tmp_path / "a.zip", [*made_up(tiny).items(), (name, b"content")])
    assert f"{name!r} refused" in refused(archive, tmp_path / "out")
    observed("refused in one line that names the file; nothing is unpacked")


def test_everything_that_a_checkout_holds_may_be_archived(tmp_path: Path) -> None:
    """The rules are an allow-list, so they are held against all that there is to allow."""
    listed = subprocess.run(
        ["git", "ls-files", "-s", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("no git checkout: its files are not listed")
    files = [line.split("\t", 1) for line in listed.stdout.split("\0") if line]
    ours = [
        f"source/{name}"
        for facts, name in files
        if not facts.startswith("120000") and not is_excluded(name)
    ]
    assert len(ours) > 200
    assert complaints(ours) is None
    for archive in (ROOT / "results/reference").glob("*.zip"):
        assert unpack(archive, tmp_path / archive.stem)


@pytest.mark.fault(
    "compiled code beside the archive's source",
    area="hostile input",
    provoked="a .pyc that is not held against its .py, put beside it after unpacking, as another "
    "process of the user might",
)
def test_modules_come_from_their_text_alone(tmp_path: Path, observed: Observed) -> None:
    source = tmp_path / "source"
    (source / "kdlm").mkdir(parents=True)
    (source / "kdlm/__init__.py").write_text("")
    lie, honest = "def main(arguments):\n    raise SystemExit('compiled')\n", source / "kdlm/cli.py"
    honest.write_text(lie)
    py_compile.compile(str(honest), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    honest.write_text("def main(arguments):\n    raise SystemExit('as written')\n")
    plain = subprocess.run(
        [sys.executable, "-c", "import kdlm.cli; kdlm.cli.main([])"],
        env=os.environ | {"PYTHONPATH": str(source)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "compiled" in plain.stderr
    ends = run_commands(source, [["judge"]], tmp_path, tmp_path / "scratch")
    assert ends == ["kdlm judge: SystemExit: as written"]
    observed("the .py file is what runs")


def test_neither_the_users_packages_nor_the_folder_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("source/kdlm", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "source/kdlm/__init__.py").write_text("")
    (tmp_path / "source/kdlm/cli.py").write_text(
        "import site\nfrom importlib.util import find_spec\n"
        "def main(arguments):\n"
        "    raise SystemExit(f'{site.ENABLE_USER_SITE}, {list(map(find_spec, arguments))}')\n"
    )
    (tmp_path / "here.py").write_text("")
    (tmp_path / "elsewhere/there.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    ends = run_commands(tmp_path / "source", [["here", "there"]], tmp_path, tmp_path / "scratch")
    assert ends == ["kdlm here: SystemExit: False, [None, None]"]


HUGE = {
    "10⁹ shards": lambda config: config["init_means"].update(seeds=10**9, shard_size=1),
    "60,000 seeds": lambda config: config["arms"][0].update(seeds=list(range(60_000))),
    "10⁵ temperatures": lambda config: config["theory"].update(
        temperatures=[1 + n / 10**5 for n in range(10**5)]
    ),
}

_CHECK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from kdlm.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("kind", HUGE)
@pytest.mark.fault(
    "an archive whose config asks for more than there is",
    area="hostile input",
    provoked="10⁹ shards, 60,000 seeds or 10⁵ temperatures in an archived study.json, checked at "
    "L0 with 1 GiB of memory and 60 s of CPU",
)
def test_l0_does_not_unfold_the_config(
    kind: str, tiny: dict[str, Any], config: dict[str, Any], tmp_path: Path, observed: Observed
) -> None:
    HUGE[kind](config)
    contents = made_up(tiny)
    records = json.loads(contents[RECORDS])
    for record in records.values():
        record["input_checksums"] = {}
    archive = repacked(tmp_path / "a.zip", (contents | {
        STUDY: json.dumps(config).encode(), RECORDS: json.dumps(records).encode(),
        CRATE: b'{"@graph": []}',
    }).items())  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-c", _CHECK, "reproduce", archive, "--level", "L0", "--folder",
         tmp_path / "out"],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "L0 holds" in run.stdout
    observed("L0 is checked without reading it")


def test_a_config_without_end_is_not_unfolded_for_deeper_levels(
    tiny: dict[str, Any], config: dict[str, Any], tmp_path: Path
) -> None:
    HUGE["10⁹ shards"](config)
    lies = made_up(tiny) | {STUDY: json.dumps(config).encode(), CRATE: b'{"@graph": []}'}
    archive = repacked(tmp_path / "a.zip", lies.items())
    with pytest.raises(InputError):
        reproduce(archive, tmp_path / "out", [Level.REBUILT], consent=lambda _: True)
    assert not (tmp_path / "out/rebuilt").exists()
    lies[STUDY] = json.dumps({"study": os.urandom(1 << 20).hex()}).encode()
    archive = repacked(tmp_path / "b.zip", lies.items())
    with pytest.raises(InputError, match="no config of a study"):
        _ = open_archive(archive, tmp_path / "out b").study


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1, "a": 2}', "the key 'a' is given twice"),
        (b"[" + b"{}," * 4_000_000 + b"{}]", "more than 4000000 values"),
        (b" " * ((1 << 26) + 1), "more than 67108864 bytes"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
    ids=["twice", "many", "large", "long", "deep"],
)
@pytest.mark.fault(
    "JSON of an archive that takes all memory, or is read in two ways",
    area="hostile input",
    provoked="four million empty objects, 64 MiB of blanks, a number of 5,000 digits, 100,000 "
    "brackets, one key twice",
)
def test_json_is_bounded(content: bytes, message: str, tmp_path: Path, observed: Observed) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)):
        read_object(path)
    observed("refused in one line that names the file")


@pytest.mark.fault(
    "a zip of more entries than a study has",
    area="hostile input",
    provoked="a directory of 101 entries where 100 are allowed, and one that says it has 2³¹ bytes",
)
def test_a_directory_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, observed: Observed
) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for number in range(101):
            opened.writestr(entry(f"source/{number}.py"), b"")
    content = archive.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("kdlm.archive.unpacking.MOST", 100)
        # zipfile would read it all
        patched.setattr("kdlm.archive.unpacking.zipfile.ZipFile", None)
        assert "one more than 100 files" in refused(archive, tmp_path / "out")
        archive.write_bytes(content[:-10] + (1 << 31).to_bytes(4, "little") + content[-6:])
        assert "a directory of 2147483648 bytes" in refused(archive, tmp_path / "out")
    observed("refused in one line before zipfile reads it")


@pytest.mark.fault(
    "a device or a pipe as an archive",
    area="hostile input",
    provoked="`kdlm reproduce /dev/zero`, and a pipe that nobody writes to",
)
def test_a_device_is_no_archive(tmp_path: Path, observed: Observed) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        assert "is a device or a pipe, not a file" in refused(path, tmp_path / "out")
    observed("refused in one line; nothing is read")


DRAWS = "\x1b[2K\rL0 holds\nL0 holds\x9b1A\u202e\ud800"


@pytest.mark.parametrize("place", ["left out", "record", "study", "format", "crate"])
@pytest.mark.fault(
    "an archive whose text draws on the terminal",
    area="hostile input",
    provoked='escapes of the terminal, "L0 holds" on a line of its own, changes of direction and '
    "lone surrogates in names, in the format, in the study's name",
)
def test_an_archives_text_draws_nothing(
    place: str, tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    observed: Observed,
) -> None:  # fmt: skip
    contents = made_up(tiny)
    facts, records = json.loads(contents[FACTS]), json.loads(contents[RECORDS])
    match place:
        case "left out":
            facts["left_out"][f"results/tiny/{DRAWS}.json"] = {"sha256": "0" * 64}
        case "record":
            records[STUDY]["input"] = [f"results/tiny/{DRAWS}.json", f"results/{DRAWS}", ""]
        case "study":
            facts["study"] = DRAWS
        case "format":
            facts["format"] = DRAWS
        case _:
            contents[CRATE] = json.dumps({DRAWS: DRAWS}).encode()
    lies = contents | {FACTS: json.dumps(facts).encode(), RECORDS: json.dumps(records).encode()}
    archive = repacked(tmp_path / "a.zip", lies.items())
    status = main(["reproduce", str(archive), "--level", "L0", "--folder", str(tmp_path / "out"),
                   "--json", str(tmp_path / "out.json")])  # fmt: skip
    printed = capsys.readouterr()
    lines = (printed.out + printed.err).split("\n")
    assert status == 1
    assert all(line.isprintable() for line in lines)
    assert "L0 holds" not in lines
    assert (tmp_path / "out.json").read_bytes().isascii()
    observed("what is not printable is written as an escape, in the table, the message and the "
             "JSON; no line is the archive's")  # fmt: skip


def test_claims_that_draw_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draws = DRAWS.removesuffix("\ud800")  # which no Parquet file holds
    numbers = {"value": 1.0, "ci_low": 0.5, "ci_high": 2.0, "margin_low": 0.0, "margin_high": 3.0}
    texts = dict.fromkeys(("id", "form", "statement", "verdict"), draws)
    write_table("claims", [texts | numbers], tmp_path / "claims.parquet")
    lost = {"status": draws, "reason": draws}
    write_table("runs", [lost], tmp_path / "tables/runs.parquet")
    assert main(["claims", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert all(line.isprintable() for line in lines)
    assert "L0 holds" not in [line.strip() for line in lines]


def test_letters_of_any_script_are_printable() -> None:
    assert printable("é ü 中 \U0001f600 'q' \\") == "é ü 中 \U0001f600 'q' \\"
    assert printable("a\nb\x7f\u200b\ud800") == r"a\nb\x7f\u200b\ud800"


def test_an_unknown_format_is_a_warning_first(tiny: dict[str, Any], tmp_path: Path) -> None:
    contents = made_up(tiny)
    facts = json.loads(contents[FACTS]) | {"format": 99}
    archive = repacked(tmp_path / "a.zip", (contents | {FACTS: json.dumps(facts).encode()}).items())
    with pytest.raises(InputError) as refusal:
        open_archive(archive, tmp_path / "out")
    said = str(refusal.value)
    assert "the code of whoever made the archive, and would run as you" in said
    assert said.index("would run as you") < said.index("python -m kdlm")
