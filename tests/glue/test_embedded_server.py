"""The embedded server, started for real: every test has a data directory of its own."""

import importlib
import itertools
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

import glue.local
from glue import settings
from glue.errors import ServerError
from glue.local import mirror, packages, places, postmaster
from glue.local.server import EmbeddedServer
from tests.servers import roomy_memory

FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
IS_ROOT = os.geteuid() == 0
BASE = roomy_memory(Path("/tmp"))


def until(condition: Callable[[], bool], patience: float = 20) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def query(dsn: str, sql: str) -> list[tuple]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="session")
def home() -> Path:
    """The project's home, with the programs in it."""
    server = EmbeddedServer(settings.load().home)
    server.install()
    return server.home


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty directory that the server's user can enter, which pytest's own are not for root."""
    path = Path(os.path.realpath(tempfile.mkdtemp(prefix="tidemark-test-", dir=BASE)))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's build, which has to be downloaded, also where another one is named."""
    monkeypatch.delenv("TIDEMARK_PG_BINDIR", raising=False)


@pytest.fixture(scope="session")
def pristine(home: Path) -> Iterator[Path]:
    """A data directory as initdb leaves it, to copy: a fifth of the time that initdb takes."""
    with tempfile.TemporaryDirectory(prefix="tidemark-test-", dir=BASE) as path:
        Path(path).chmod(0o755)
        server = EmbeddedServer(home, data=Path(path) / "data", options=FAST)
        server.ensure_started(may_install=False)
        server.stop()
        yield server.data


@pytest.fixture
def empty(home: Path, place: Path) -> Iterator[EmbeddedServer]:
    """A server whose data directory is not there yet."""
    server = EmbeddedServer(home, data=place / "data", options=FAST)
    yield server
    server.reset()


@pytest.fixture
def server(empty: EmbeddedServer, pristine: Path) -> EmbeddedServer:
    """A server whose data directory is there."""
    subprocess.run(["cp", "-a", pristine, empty.data], check=True)
    return empty


@pytest.fixture
def own_home(home: Path, place: Path, pristine: Path) -> Iterator[Path]:
    """A home with data of its own and the project's programs."""
    (place / "server").symlink_to(home / "server")
    subprocess.run(["cp", "-a", pristine, place / "data"], check=True)
    yield place
    EmbeddedServer(place).reset()


def tidemark(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "glue", *arguments],
        env=os.environ | {"TIDEMARK_HOME": str(home)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def shared(home: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="tidemark-test-", dir=BASE) as path:
        Path(path).chmod(0o755)
        server = EmbeddedServer(home, data=Path(path) / "data", options=FAST | {"work_mem": "5MB"})
        yield server.ensure_started(may_install=False)
        server.stop()


class TestStarting:
    def test_starts_with_both_extensions(self, empty):
        dsn = empty.ensure_started(may_install=False)

        query(dsn, "create extension timescaledb; create extension plpgsql_check")
        query(dsn, "create table ticks (at timestamptz not null, bid numeric)")
        query(dsn, "select create_hypertable('ticks', 'at')")
        query(dsn, "insert into ticks values ('2014-05-02T12:30Z', 1.38694)")
        query(dsn, "create function f() returns int language sql as 'select 1'")
        query(dsn, "create function g() returns int language plpgsql as 'begin return x; end'")
        with psycopg.connect(dsn) as connection:
            connection.execute("load 'plpgsql_check'")
            found = connection.execute(
                "select message from plpgsql_check_function_tb('g()')"
            ).fetchall()

        assert found == [('column "x" does not exist',)]
        assert query(dsn, "select current_database(), current_user") == [("tidemark", "tidemark")]
        assert query(dsn, "select count(*) from show_chunks('ticks')") == [(1,)]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("listen_addresses", ""),
            ("shared_preload_libraries", "timescaledb"),
            ("jit", "off"),
            ("TimeZone", "UTC"),
            ("server_encoding", "UTF8"),
            ("track_commit_timestamp", "on"),
            ("fsync", "off"),
            ("work_mem", "5MB"),
        ],
    )
    def test_settings(self, shared, name, value):
        assert query(shared, f"show {name}") == [(value,)]

    def test_text_is_utf8_in_the_order_of_codepoints(self, shared):
        assert query(shared, "select upper('é'), 'a' > 'Z'") == [("É", True)]

    def test_second_start_finds_the_first(self, server, home):
        first = server.ensure_started(may_install=False)
        pid = server.status().pid
        other = EmbeddedServer(home, data=server.data)

        assert other.ensure_started(may_install=False) == first == other.dsn
        assert other.status().pid == pid

    def test_warm_start_takes_less_than_three_seconds(self, server):
        server.ensure_started(may_install=False)
        server.stop()
        began = time.monotonic()
        server.ensure_started(may_install=False)

        assert time.monotonic() - began < 3

    def test_concurrent_starts_make_one_server(self, own_home):
        EmbeddedServer(own_home).reset()
        argv = [sys.executable, "-m", "glue", "db", "start"]
        environment = os.environ | {"TIDEMARK_HOME": str(own_home)}
        starters = [
            subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        said = [starter.communicate()[0] for starter in starters]
        pid = EmbeddedServer(own_home).status().pid

        assert [starter.returncode for starter in starters] == [0] * 4
        assert all(f"pid {pid}" in words for words in said)

    def test_the_server_has_a_session_of_its_own(self, server):
        server.ensure_started(may_install=False)
        pid = server.status().pid

        assert os.getsid(pid) == pid != os.getsid(0)

    def test_a_long_path_does_not_matter_to_the_socket(self, home, place):
        server = EmbeddedServer(home, data=place / ("deep/" * 30) / "data", options=FAST)
        assert query(server.ensure_started(may_install=False), "select 1") == [(1,)]
        server.reset()

    def test_another_build_needs_no_download(self, home, place):
        server = EmbeddedServer(place, EmbeddedServer(home).bindir, options=FAST)
        assert query(server.ensure_started(may_install=False), "select 1") == [(1,)]
        assert not (place / "server").exists()
        server.reset()

    def test_programs_survive_a_move(self, home, place):
        shutil.copytree(home / "server", place / "server", symlinks=True)
        server = EmbeddedServer(place, options=FAST)
        assert query(server.ensure_started(may_install=False), "select 1") == [(1,)]
        programs = packages.directory(place)
        assert os.fsencode(programs / "usr/lib") in (server.bindir / "psql").read_bytes()
        server.reset()


class TestStoppingAndComingBack:
    def test_restart_keeps_data(self, server):
        dsn = server.ensure_started(may_install=False)
        query(dsn, "create table kept as select 42 as answer")

        assert server.stop()
        assert not server.status().running
        assert not server.stop()
        assert query(server.ensure_started(may_install=False), "table kept") == [(42,)]

    def test_stop_ends_open_sessions(self, server):
        with psycopg.connect(server.ensure_started(may_install=False)) as connection:
            server.stop()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select 1")

    def test_reset_deletes_the_data(self, server):
        query(server.ensure_started(may_install=False), "create table gone ()")
        server.reset()

        assert not server.data.exists()
        tables = "select to_regclass('gone') is null"
        assert query(server.ensure_started(may_install=False), tables) == [(True,)]

    def test_starts_after_a_crash(self, server):
        dsn = server.ensure_started(may_install=False)
        with psycopg.connect(dsn, autocommit=True) as session:
            session.execute("set synchronous_commit = on")
            session.execute("create table kept as select 42 as answer")
            os.kill(server.status().pid, signal.SIGKILL)
            until(lambda: not server.status().running)
            dsn = server.ensure_started(may_install=False)

        assert query(dsn, "table kept") == [(42,)]

    def test_heals_a_pid_file_whose_pid_has_gone_to_another_process(self, server):
        server.ensure_started(may_install=False)
        pid_file = server.data / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        server.stop()
        sleeper = subprocess.Popen(["sleep", "60"], **places.as_user(server.user))
        pid_file.write_text("\n".join([str(sleeper.pid), *lines[1:]]) + "\n")
        os.chown(pid_file, server.user.uid, server.user.gid)

        assert not server.status().running
        assert query(server.ensure_started(may_install=False), "select 1") == [(1,)]
        assert sleeper.poll() is None
        sleeper.kill()
        sleeper.wait()

    def test_waits_for_backends_of_a_killed_postmaster(self, server):
        dsn = server.ensure_started(may_install=False)
        with psycopg.connect(dsn) as session:
            backend = session.info.backend_pid
            os.kill(backend, signal.SIGSTOP)
            os.kill(server.status().pid, signal.SIGKILL)
            until(lambda: not server.status().running)
            with pytest.raises(ServerError, match="still use"):
                postmaster.clear_stale(server.data, patience=0.1)
            assert (server.data / "postmaster.pid").exists()
            os.kill(backend, signal.SIGCONT)
            assert query(server.ensure_started(may_install=False), "select 1") == [(1,)]

    def test_heals_a_socket_that_was_cleaned_away(self, server):
        dsn = server.ensure_started(may_install=False)
        (postmaster.read(server.data).socket_directory / f".s.PGSQL.{places.PORT}").unlink()

        assert query(server.ensure_started(may_install=False), "select 1") == [(1,)]
        assert server.dsn == dsn


class TestKeeper:
    @pytest.fixture
    def supervise(
        self, own_home: Path
    ) -> Iterator[Callable[[], tuple[subprocess.Popen[str], dict]]]:
        """Start a supervisor with a keeper; the answer is the supervisor and the keeper's line."""
        supervisor = (
            "import os, subprocess, sys, time\n"
            "reading, writing = os.pipe()\n"
            "environment = os.environ | {'TIDEMARK_LIFELINE_FD': str(reading)}\n"
            "keeper = subprocess.Popen([sys.executable, '-m', 'glue.local.keeper'],\n"
            "    env=environment, pass_fds=[reading], start_new_session=True)\n"
            "print(keeper.pid, flush=True)\n"
            "keeper.wait()\n"
        )
        started = []

        def start() -> tuple[subprocess.Popen[str], dict]:
            process = subprocess.Popen(
                [sys.executable, "-c", supervisor],
                env=os.environ | {"TIDEMARK_HOME": str(own_home)},
                stdout=subprocess.PIPE,
                text=True,
            )
            started.append(process)
            keeper = int(process.stdout.readline())
            return process, json.loads(process.stdout.readline()) | {"keeper": keeper}

        yield start
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()

    def test_stops_the_server_when_its_supervisor_is_killed(self, supervise, own_home):
        supervisor, told = supervise()
        assert told["started"] is True
        assert query(told["dsn"], "select 1") == [(1,)]

        supervisor.kill()

        until(lambda: not postmaster.is_alive(told["keeper"]))
        assert not EmbeddedServer(own_home).status().running

    def test_stops_the_server_when_told_to(self, supervise, own_home):
        supervisor, told = supervise()
        os.kill(told["keeper"], signal.SIGTERM)

        assert supervisor.wait(20) == 0
        assert not EmbeddedServer(own_home).status().running

    def test_gives_up_a_download_when_told_to(self, place, downloads):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            variables = {
                "TIDEMARK_HOME": str(place),
                mirror.MIRROR_VARIABLE: f"http://127.0.0.1:{silent.getsockname()[1]}/debian",
                "no_proxy": "127.0.0.1",
            }
            keeper = subprocess.Popen(
                [sys.executable, "-m", "glue.local.keeper"], env=os.environ | variables
            )
            silent.settimeout(20)
            silent.accept()[0].close()
            keeper.terminate()
            assert keeper.wait(10) == 0
        assert [file.name for file in (place / "server").iterdir()] == [".lock"]

    def test_leaves_a_server_that_ran_before(self, supervise, own_home):
        EmbeddedServer(own_home, options=FAST).ensure_started(may_install=False)
        supervisor, told = supervise()
        assert told["started"] is False

        supervisor.kill()

        until(lambda: not postmaster.is_alive(told["keeper"]))
        assert query(told["dsn"], "select 1") == [(1,)]


class TestWhatCanGoWrong:
    def test_a_server_that_may_not_be_downloaded(self, place):
        with pytest.raises(ServerError, match="not been downloaded") as caught:
            EmbeddedServer(place).ensure_started(may_install=False)
        assert "tidemark db start" in caught.value.remedy
        assert "TIDEMARK_DSN" in caught.value.remedy

    @pytest.mark.parametrize("missing", ["apt-get", "dpkg-deb"])
    def test_missing_package_tool(self, place, monkeypatch, missing):
        tools = place / "tools"
        tools.mkdir()
        for tool in {"apt-get", "dpkg-deb", "test"} - {missing}:
            (tools / tool).symlink_to(shutil.which(tool))
        monkeypatch.setenv("PATH", str(tools))
        with pytest.raises(ServerError, match=f"{missing} is not there") as caught:
            EmbeddedServer(place).ensure_started(may_install=True)
        assert "TIDEMARK_DSN" in caught.value.remedy

    def test_no_network(self, place, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        monkeypatch.setenv(mirror.MIRROR_VARIABLE, f"http://127.0.0.1:{port}/debian")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with pytest.raises(ServerError, match="reading Debian's list") as caught:
            EmbeddedServer(place).ensure_started(may_install=True)
        assert "network" in caught.value.remedy
        assert [file.name for file in (place / "server").iterdir()] == [".lock"]

    @pytest.mark.parametrize(
        ("system", "machine"), [("linux", "riscv64"), ("darwin", "arm64"), ("win32", "AMD64")]
    )
    def test_unsupported_system(self, place, monkeypatch, system, machine):
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setattr(platform, "machine", lambda: machine)
        with pytest.raises(ServerError, match="no embedded server for") as caught:
            EmbeddedServer(place).ensure_started(may_install=True)
        assert "compose.yaml" in caught.value.remedy

    def test_windows(self, monkeypatch):
        monkeypatch.setattr(sys, "platform", "win32")
        with pytest.raises(ServerError, match="no embedded server for Windows"):
            importlib.reload(glue.local)

    def test_data_of_another_major(self, empty):
        empty.data.mkdir()
        (empty.data / "PG_VERSION").write_text("16\n")
        with pytest.raises(ServerError, match="made by PostgreSQL 16, this server is 17") as caught:
            empty.ensure_started(may_install=False)
        assert "tidemark db reset" in caught.value.remedy

    @pytest.mark.skipif(not IS_ROOT, reason="only root may mount a file system that is full")
    @pytest.mark.parametrize("step", ["download", "initdb"])
    def test_full_disk(self, home, place, step, downloads):
        small = place / "small"
        small.mkdir()
        build = {"TIDEMARK_PG_BINDIR": str(EmbeddedServer(home).bindir)} if step == "initdb" else {}
        mounted = (
            f"mount -t tmpfs -o size=8m,mode=755 none {small} && {sys.executable} -m glue db start"
        )
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", f"{mounted}; echo $? {small}/*"],
            env=os.environ | {"TIDEMARK_HOME": str(small)} | build,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "the disk is full" in done.stderr
        assert "TIDEMARK_HOME" in done.stderr
        left = {"download": "server", "initdb": "data.lock"}[step]
        assert done.stdout.split() == ["1", f"{small}/{left}"]

    def test_home_that_cannot_be_written(self, home, place):
        argv = [sys.executable, "-m", "glue", "db", "start"]
        if IS_ROOT:  # whom only a read-only file system stops
            mount = f'mount --bind {place} {place} && mount -o remount,ro,bind {place} && exec "$@"'
            argv = ["unshare", "--mount", "sh", "-c", mount, "-", *argv]
        place.chmod(0o555)
        build = {"TIDEMARK_PG_BINDIR": str(EmbeddedServer(home).bindir)}
        done = subprocess.run(
            argv,
            env=os.environ | {"TIDEMARK_HOME": str(place)} | build,
            capture_output=True,
            text=True,
            check=False,
        )
        place.chmod(0o755)
        assert done.returncode == 1
        assert "not allowed" in done.stderr
        assert "Set TIDEMARK_HOME" in done.stderr

    def test_a_build_without_timescaledb(self, home, place):
        shutil.copytree(home / "server", place / "server", symlinks=True)
        bindir = EmbeddedServer(place).bindir
        for extension in (bindir.parent / "lib").glob("timescaledb*"):
            extension.unlink()
        server = EmbeddedServer(place, bindir, options=FAST)
        with pytest.raises(ServerError, match="has no TimescaleDB"):
            server.ensure_started(may_install=False)
        server.reset()

    def test_a_setting_that_the_server_refuses_is_named(self, home, place):
        server = EmbeddedServer(home, data=place / "data", options=FAST | {"work_mem": "lots"})
        with pytest.raises(ServerError, match='invalid value for parameter "work_mem"') as caught:
            server.ensure_started(may_install=False)
        assert str(server.log) in caught.value.remedy
        server.reset()

    def test_a_socket_directory_that_is_not_ours(self, server, place):
        directory = places.socket_directory(server.data, server.user)
        directory.symlink_to(place)
        with pytest.raises(ServerError, match="belongs to somebody else"):
            server.ensure_started(may_install=False)
        directory.unlink()


@pytest.mark.skipif(not IS_ROOT, reason="only root needs somebody else to run the server")
class TestAsRoot:
    def test_the_server_runs_as_an_unprivileged_user(self, server):
        server.ensure_started(may_install=False)
        running = Path(f"/proc/{server.status().pid}").stat()

        assert running.st_uid == server.user.uid != 0
        assert server.data.stat().st_uid == server.user.uid
        assert server.status().user == server.user.name

    def test_a_home_that_nobody_else_can_enter_is_left_for_var_lib(self, tmp_path):
        tmp_path.chmod(0o700)
        server = EmbeddedServer(tmp_path / "home")

        assert server.home == places.FALLBACK_HOME
        assert server.status().data == places.FALLBACK_HOME / "data"

    def test_data_that_the_user_cannot_enter(self, home, tmp_path):
        tmp_path.chmod(0o700)
        server = EmbeddedServer(home, data=tmp_path / "data")
        with pytest.raises(ServerError, match=f"runs as {server.user.name}, who cannot enter"):
            server.ensure_started(may_install=False)

    def test_data_of_a_user_is_served_as_that_user(self, home, place):
        nobody = places.User(65534, 65534, "nobody")
        places.make_directory(place / "data", nobody, mode=0o700)

        assert EmbeddedServer(home, data=place / "data").user == nobody


class TestCommandLine:
    def test_status_start_psql_dsn_stop_reset(self, own_home):
        before = tidemark(own_home, "db", "status")
        assert (before.returncode, "stopped" in before.stdout) == (1, True)

        start = tidemark(own_home, "db", "start")
        assert (start.returncode, "warm start in" in start.stdout) == (0, True)
        again = tidemark(own_home, "db", "start")
        assert (again.returncode, "already running" in again.stdout) == (0, True)
        status = tidemark(own_home, "db", "status")
        assert status.returncode == 0
        assert str(own_home / "data") in status.stdout

        dsn = tidemark(own_home, "db", "dsn").stdout.strip()
        assert query(dsn, "select 1") == [(1,)]
        sql = "select current_user"
        assert tidemark(own_home, "db", "psql", "-X", "-Atc", sql).stdout == "tidemark\n"
        assert tidemark(own_home, "db", "psql", "-c", "nonsense").returncode == 1
        sql = "select current_database()"
        other = tidemark(own_home, "db", "psql", "-d", "postgres", "-X", "-Atc", sql)
        assert other.stdout == "postgres\n"

        assert tidemark(own_home, "db", "reset").returncode == 1  # nobody there to confirm
        assert tidemark(own_home, "db", "stop").stdout == "stopped\n"
        assert tidemark(own_home, "db", "stop").returncode == 0
        assert tidemark(own_home, "db", "reset", "--yes").returncode == 0
        assert not (own_home / "data").exists()

    def test_wrong_usage_exits_2(self, place):
        assert tidemark(place, "db", "begin").returncode == 2

    @pytest.mark.parametrize("command", ["dsn", "psql"])
    def test_only_start_downloads(self, place, command, downloads):
        done = tidemark(place, "db", command)
        assert done.returncode == 1
        assert "tidemark db start" in done.stderr

    def test_another_server_in_the_environment_does_not_matter(self, own_home):
        done = tidemark(own_home, "db", "dsn", TIDEMARK_DSN="host=elsewhere", PGHOST="elsewhere")
        assert query(done.stdout.strip(), "select 1") == [(1,)]

    @pytest.mark.parametrize("variable", ["PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE"])
    def test_psql_stays_with_the_embedded_server(self, own_home, variable):
        done = tidemark(own_home, "db", "psql", "-X", "-Atc", "select 1", **{variable: "::1"})
        assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


class TestMirror:
    KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"

    @pytest.fixture(autouse=True)
    def _no_mirror_named(self, monkeypatch):
        monkeypatch.delenv(mirror.MIRROR_VARIABLE, raising=False)

    @pytest.fixture
    def etc_apt(self, tmp_path) -> Callable[..., Path]:
        numbers = itertools.count()

        def write(**files: str) -> Path:
            path = tmp_path / str(next(numbers))
            (path / "sources.list.d").mkdir(parents=True)
            for name, text in files.items():
                stem, _, ending = name.rpartition("_")
                file = f"{stem}.{ending}"
                (path / (file if stem == "sources" else f"sources.list.d/{file}")).write_text(text)
            return path

        return write

    def test_one_line_form(self, etc_apt):
        found = mirror.find(
            etc_apt(
                sources_list="# deb http://old.example/debian bookworm main\n"
                "deb http://a.example/debian-security bookworm-security main\n"
                f"deb [arch=amd64 signed-by={self.KEY}] http://a.example/debian bookworm main #\n"
            )
        )
        assert found.uri == "http://a.example/debian"
        assert f"Signed-By: {self.KEY}\n" in found.stanza("trixie", "main")
        assert "Suites: trixie\nComponents: main\n" in found.stanza("trixie", "main")

    def test_deb822_form(self, etc_apt):
        found = mirror.find(
            etc_apt(
                debian_sources="Types: deb\nURIs: http://off.example/debian\nSuites: trixie\n"
                "Components: main\nEnabled: no\n\n"
                "Types: deb deb-src\n# a remark\nURIs: http://b.example/debian/\n"
                "Suites: trixie\n trixie-updates\nComponents: main contrib\n"
                f"Signed-By: {self.KEY}\n"
            )
        )
        assert found.uri == "http://b.example/debian/"
        assert f"Signed-By: {self.KEY}\n" in found.stanza("trixie", "main")

    def test_a_key_inside_the_file_is_carried_over(self, etc_apt):
        key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQIN\n -----END PGP PUBLIC KEY-----"
        found = mirror.find(
            etc_apt(
                debian_sources="Types: deb\nURIs: http://b.example/debian\nSuites: sid\n"
                f"Components: main\nSigned-By:{key}\n"
            )
        )
        assert key in found.stanza("trixie", "main")

    def test_other_vendors_are_passed_over(self, etc_apt):
        found = mirror.find(
            etc_apt(
                sources_list="deb http://vendor.example/chrome/deb stable main\n",
                debian_sources="Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\n"
                "Suites: bookworm\nComponents: main\n",
            )
        )
        assert found.uri == "mirror+file:///etc/apt/mirrors/debian.list"

    def test_a_machine_without_a_debian_mirror(self, etc_apt, monkeypatch):
        ubuntu = etc_apt(sources_list="deb http://u.example/ubuntu noble main\n")
        with pytest.raises(ServerError, match="name no Debian mirror") as caught:
            mirror.find(ubuntu)
        assert mirror.MIRROR_VARIABLE in caught.value.remedy

        monkeypatch.setenv(mirror.MIRROR_VARIABLE, "http://c.example/debian")
        assert mirror.find(ubuntu).uri == "http://c.example/debian"
