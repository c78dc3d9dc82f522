"""The wheel holds everything that is not Python, too."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from glue import migrate, paths

PAGE = paths.CHECKOUT / "frontend2" / "dist"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files, far from the checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    build = ["pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(directory)]
    subprocess.run([sys.executable, "-m", *build, str(paths.CHECKOUT)], check=True)
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory / "unpacked")
    return directory / "unpacked"


def test_migrates_without_the_checkout(unpacked):
    printed = subprocess.run(
        [sys.executable, "-m", "glue", "migrate", "--sql"],
        cwd="/",
        env={"PYTHONPATH": str(unpacked), "HOME": "/nowhere"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert printed == migrate.script()


def test_holds_the_built_page(unpacked):
    share = unpacked / "glue" / "share" / "frontend2" / "dist"
    built = {path.relative_to(PAGE) for path in PAGE.rglob("*") if path.is_file()}

    assert {path.relative_to(share) for path in share.rglob("*") if path.is_file()} == built
