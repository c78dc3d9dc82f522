"""Which Debian mirror this machine uses, read from its own apt sources."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from glue.errors import ServerError
from glue.local.problems import OWN_SERVER

MIRROR_VARIABLE = "TIDEMARK_DEBIAN_MIRROR"
"""Names a Debian mirror to use instead of the machine's own; needed where it has none (Ubuntu)."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
RELEASES = {
    *("bullseye", "bookworm", "trixie", "forky", "duke", "sid"),
    *("oldoldstable", "oldstable", "stable", "testing", "unstable"),
}
KEPT_OPTIONS = ("signed-by", "trusted")


@dataclass(frozen=True)
class Source:
    """One archive in apt's sources: where it is, what it holds, and how it is verified."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)

    @property
    def is_debian(self) -> bool:
        """Whether it is a mirror of Debian itself, not its security archive or another vendor's."""
        return (
            not RELEASES.isdisjoint(self.suites)
            and "main" in self.components
            and "security" not in self.uri
        )

    def stanza(self, suite: str, component: str) -> str:
        """The entry, in the form of a `.sources` file, that reads a suite from the same mirror."""
        lines = ["Types: deb", f"URIs: {self.uri}", f"Suites: {suite}", f"Components: {component}"]
        lines += [f"{name.title()}: {value}" for name, value in self.options.items()]
        return "\n".join([*lines, "Targets: Packages", ""])


def find(etc_apt: Path = Path("/etc/apt")) -> Source:
    """The machine's Debian mirror; ServerError where it has none and none is named."""
    named = os.environ.get(MIRROR_VARIABLE)
    if named:
        options = {"signed-by": str(KEYRING)} if KEYRING.exists() else {}
        return Source(named, ("stable",), ("main",), options)
    mirrors = [source for source in read(etc_apt) if source.is_debian]
    if not mirrors:
        raise ServerError(
            "this machine's apt sources name no Debian mirror to download the server from",
            f"Install debian-archive-keyring and name one in {MIRROR_VARIABLE}. {OWN_SERVER}",
        )
    # Other vendors publish "stable main" too; Debian's own archive ends in /debian everywhere.
    return min(mirrors, key=lambda mirror: not re.search(r"/debian(\.list)?/?$", mirror.uri))


def read(etc_apt: Path) -> list[Source]:
    """Every binary archive of apt's configuration, in the order in which apt reads it."""
    files = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]
    sources: list[Source] = []
    for file in files:
        if file.suffix == ".list" and file.is_file():
            sources += _one_line(file.read_text(errors="replace"))
        elif file.suffix == ".sources" and file.is_file():
            sources += _deb822(file.read_text(errors="replace"))
    return sources


def _one_line(text: str) -> Iterator[Source]:
    """`deb [signed-by=/a.gpg arch=amd64] uri suite component …`."""
    for line in text.splitlines():
        found = re.match(r"deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#]+)", line.strip())
        if found:
            given = re.findall(r"(\S+?)=(\S+)", found[1] or "")
            options = {name.lower(): value.replace(",", " ") for name, value in given}
            yield Source(found[2], (found[3],), tuple(found[4].split()), _kept(options))


def _deb822(text: str) -> Iterator[Source]:
    """Stanzas of `Field: value`, separated by empty lines; a value goes on in indented lines."""
    text = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
    for stanza in re.split(r"\n\s*\n", text):
        fields = {
            # A key block begins on the line after its field's name, and must stay there.
            name.lower(): value.rstrip() if value.startswith("\n") else value.strip()
            for name, value in re.findall(r"^([\w-]+):(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        }
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        for uri in fields.get("uris", "").split():
            suites = tuple(fields.get("suites", "").split())
            components = tuple(fields.get("components", "").split())
            yield Source(uri, suites, components, _kept(fields))


def _kept(options: dict[str, str]) -> dict[str, str]:
    return {name: options[name] for name in KEPT_OPTIONS if name in options}
