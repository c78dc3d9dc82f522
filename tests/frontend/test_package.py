"""The store in somebody else's page: packed and installed as docs/page.md says, offline."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from glue import paths

FRONTEND = paths.CHECKOUT / "frontend2"
PACKAGES = FRONTEND / "node_modules"

PAGE = """
import { useState } from 'react';
import { connectPortfolio, selectTotals, usePortfolioStore } from 'tidemark-page';
window.page = { useState, connectPortfolio, selectTotals, usePortfolioStore };
"""
TYPED_PAGE = """
import { connectPortfolio, selectTotals, usePortfolioStore } from 'tidemark-page';
const portfolio = connectPortfolio({ url: 'wss://desk.example/ws', token: 'secret' });
export const stopped: void = portfolio.stop();
export const equity: string | null | undefined = selectTotals(usePortfolioStore.getState())?.equity;
// @ts-expect-error a list
export const accountIds: number = usePortfolioStore.getState().accountIds;
// @ts-expect-error no such option
connectPortfolio({ url: 'wss://desk.example/ws', token: 'secret', account: 1 });
"""
TSCONFIG = {
    "compilerOptions": {
        "strict": True,
        "noEmit": True,
        "target": "es2023",
        "lib": ["es2023", "dom"],
        "module": "esnext",
        "moduleResolution": "bundler",
    },
    "files": ["typed.ts"],
}


def run(*command: str | Path, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page with a React of its own, older than the one that ours is built with."""
    react = tmp_path / "react"
    shutil.copytree(PACKAGES / "react", react)
    manifest = json.loads((react / "package.json").read_text())
    (react / "package.json").write_text(json.dumps(manifest | {"version": "18.3.1"}))
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text('<script type="module" src="./page.js"></script>')
    (page / "page.js").write_text(PAGE)
    (page / "typed.ts").write_text(TYPED_PAGE)
    (page / "tsconfig.json").write_text(json.dumps(TSCONFIG))
    return page


def install(page: Path, package: str | Path) -> None:
    """Copies instead of links, as from a registry."""
    found = {
        "react": page.parent / "react",
        "zustand": PACKAGES / "zustand",
        "tidemark-page": package,
    }
    manifest = {"dependencies": {name: f"file:{path}" for name, path in found.items()}}
    (page / "package.json").write_text(json.dumps(manifest))
    run("npm", "install", "--offline", "--install-links", "--no-audit", "--no-fund", cwd=page)


def packed(page: Path) -> Path:
    run("npm", "pack", FRONTEND, "--pack-destination", page.parent, cwd=paths.CHECKOUT)
    (package,) = page.parent.glob("*.tgz")
    return package


def bundled_reacts(page: Path) -> int:
    run("node", PACKAGES / "vite/bin/vite.js", "build", "--sourcemap", cwd=page)
    (source_map,) = page.glob("dist/assets/*.js.map")
    sources = json.loads(source_map.read_text())["sources"]
    assert any(source.endswith("stores/portfolioStore.js") for source in sources)
    return sum(source.endswith("react/cjs/react.production.js") for source in sources)


def test_a_packed_store_uses_the_page_s_own_react_and_has_types(page: Path) -> None:
    install(page, packed(page))

    assert len(list(page.glob("node_modules/**/react/package.json"))) == 1
    assert bundled_reacts(page) == 1
    run(PACKAGES / ".bin/tsc", "-p", ".", cwd=page)


def test_a_link_to_the_folder_brings_a_second_react_unless_the_bundler_is_told(page: Path) -> None:
    modules = page / "node_modules"
    modules.mkdir()
    (modules / "react").symlink_to(page.parent / "react")
    (modules / "tidemark-page").symlink_to(FRONTEND)
    assert bundled_reacts(page) == 2

    (page / "vite.config.js").write_text("export default { resolve: { dedupe: ['react'] } };")
    assert bundled_reacts(page) == 1
