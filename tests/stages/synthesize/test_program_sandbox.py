"""What a hostile program tries: none of it leaves a trace outside, and none of it outlives its limits.

Each attempt is a real program. What it must not have done is looked at from outside wherever it can be.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from stages.synthesize import sandbox as module
from stages.synthesize.sandbox import Limits, Sandbox, SandboxUnavailable, check_sandbox

SHORT = Limits(cpu_s=2, wall_s=6, memory=256 << 20, processes=16, output=64 << 10, disk=8 << 20)


def run(source, limits=SHORT, **files):
    return Sandbox(limits).run_python(source, {name: content.encode() for name, content in files.items()})


def said(source, limits=SHORT):
    result = run(source, limits)
    return result.status, result.stdout.decode().strip()


def test_an_honest_program_runs():
    result = run("import data, json, math\nprint(json.dumps([data.x, math.pi > 3]))", **{"data.py": "x = 7"})
    # -I leaves the folder out of the path of imports: tests are put into one file
    assert result.status == "failed" and b"No module named 'data'" in result.stderr
    result = run("print(open('data.txt').read()); open('out.txt', 'w').write('x')", **{"data.txt": "seven"})
    assert (result.status, result.code, result.stdout) == ("ok", 0, b"seven\n")
    assert said("import sys; sys.exit(3)")[0] == "failed"
    assert run("assert 1 == 2").code == 1


def test_this_machine_holds_what_it_promises():
    check_sandbox()


ATTEMPTS = {
    "network": """
import socket
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET):
    try:
        s = socket.socket(family, socket.SOCK_STREAM if family != socket.AF_PACKET else socket.SOCK_RAW)
        s.settimeout(1); s.connect(("127.0.0.1", PORT)); print("OUT", family)
    except (OSError, TypeError) as e:
        pass
print("done")
""",
    "reads": """
import os
for path in ("/etc/passwd", "/etc/shadow", "/root/.ssh", "/root/.bashrc", "/home", "/proc/1/environ", "/proc/self/root/etc/passwd",
             "/sys/kernel", "/var/log", "/tmp", "/box/../etc/passwd", "/old/etc/passwd", "/dev/sda", "/dev/mem", "/dev/kmsg",
             "SECRET", "/dev/fd/3", "/run"):
    try:
        os.stat(path)
        print("OUT", path, os.listdir(path) if os.path.isdir(path) else open(path).read(10))
    except OSError:
        pass
for fd in range(3, 256):
    try:
        os.fstat(fd); print("OUT fd", fd)
    except OSError:
        pass
print("done")
""",
    "writes": """
import os
for path in ("/x", "/usr/x", "/usr/bin/x", "/lib/x", "/dev/x", "/etc/x", "/tmp/x", "/box/../x", "SECRET", os.__file__, os.path.dirname(os.__file__) + "/x.py"):
    for mode in ("w", "a", "r+"):
        try:
            open(path, mode).write("x"); print("OUT", path)
        except OSError:
            pass
for call in (lambda: os.remove("/usr/bin/env"), lambda: os.rename("/usr", "/u"), lambda: os.chmod("/usr", 0o777),
             lambda: os.chown("/usr", 1000, 1000), lambda: os.mkdir("/new"), lambda: os.truncate(os.__file__, 0)):
    try:
        call(); print("OUT")
    except OSError:
        pass
print("done")
""",
    "links": """
import os
for target in ("/etc/passwd", "SECRET", "/proc/1/root/etc/passwd", "../../../../etc/passwd"):
    os.path.lexists("link") and os.remove("link")
    os.symlink(target, "link")
    for mode in ("r", "w"):
        try:
            open("link", mode).read(1) if mode == "r" else open("link", mode).write("x"); print("OUT", target, mode)
        except OSError:
            pass
    try:
        os.link(target, "hard"); print("OUT hard", target)
    except OSError:
        pass
print("done")
""",
    "signals": """
import os, signal
for pid in (PARENT, 1, -1, 0 - PARENT):
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP):
        if pid == -1 and number != signal.SIGTERM:
            continue
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            os.kill(pid, number)
            if pid not in (1, -1):
                print("OUT", pid)
        except OSError:
            pass
print("done")
""",
    "kernel": """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for name, args in {"unshare": (0x10000000,), "setns": (0, 0), "chroot": (b"/",), "ptrace": (0, 0, 0, 0),
                   "mount": (b"proc", b"/box", b"proc", 0, None), "umount2": (b"/usr", 2), "personality": (0,),
                   "memfd_create": (b"x", 0), "shmget": (0, 1 << 20, 0o1666), "sethostname": (b"x", 1),
                   "keyctl": (0,), "bpf": (0, 0, 0), "swapon": (b"/x", 0), "reboot": (0,)}.items():
    if not hasattr(libc, name):
        continue
    if getattr(libc, name)(*args) >= 0:
        print("OUT", name)
for number in (41, 101, 165, 272, 308, 321, 425, 428, 438, 310):
    if libc.syscall(number, 0, 0, 0, 0, 0) >= 0:
        print("OUT", number)
if libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0) >= 0:
    print("OUT clone")
try:
    os.setuid(0); print("OUT root")
except OSError:
    pass
print("done")
""",
}


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A file, a server and a process that an escape could reach."""
    secret = tmp_path_factory.mktemp("outside") / "secret.txt"
    secret.write_text("secret")
    secret.chmod(0o666)
    reached = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        stop = threading.Event()

        def serve():
            while not stop.is_set():
                try:
                    server.accept()
                    reached.append(1)
                except TimeoutError:
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield {"SECRET": str(secret), "PORT": str(server.getsockname()[1]), "PARENT": str(os.getpid())}
        stop.set()
        thread.join()
    assert not reached and secret.read_text() == "secret"


@pytest.mark.parametrize("name", list(ATTEMPTS))
def test_no_way_out(name, outside):
    source = ATTEMPTS[name]
    for word, value in outside.items():
        source = source.replace(word, value)
    result = run(source)
    assert result.stdout.decode().strip() == "done", result


def test_a_call_by_the_other_numbers_of_the_processor_kills():
    source = "import ctypes\nctypes.CDLL(None).syscall(0x40000000 + 39)\nprint('OUT')"
    result = run(source)
    assert result.status == "failed" and result.stdout == b"" and result.code == -31


def cages():
    """Launchers that run now."""
    return [
        p for p in psutil.process_iter(["cmdline"]) if any("sandbox_launcher" in c for c in p.info["cmdline"] or ())
    ]


def test_a_fork_bomb_stays_small_and_dies():
    source = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n"
    most = [0]
    done = threading.Event()

    def watch():
        while not done.wait(0.1):
            own = {p.pid for c in cages() for p in c.children(recursive=True)}
            most[0] = max(most[0], len(own))

    thread = threading.Thread(target=watch)
    thread.start()
    result = run(source, Limits(cpu_s=2, wall_s=3, processes=16, memory=512 << 20))
    done.set()
    thread.join()
    assert result.status in ("time", "memory") and 2 <= most[0] <= 20
    time.sleep(0.3)
    assert not cages()


def test_children_that_hide_die_with_the_cage(outside):
    source = """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        import time
        os.close(1); os.close(2)
        time.sleep(60)
        os._exit(0)
    os._exit(0)
print("done")
"""
    assert said(source) == ("ok", "done")
    time.sleep(0.2)
    assert not cages()


@pytest.mark.parametrize(
    "source,status",
    [
        ("while True: pass", {"time"}),
        ("import time; time.sleep(100)", {"time"}),
        ("x = b'x' * 1\nwhile True: x += x", {"memory"}),
        ("import os\nl = []\nfor i in range(12):\n    if os.fork() == 0:\n        x = bytearray(100 << 20); import time; time.sleep(100)\nimport time; time.sleep(100)", {"memory"}),
        ("import sys\nwhile True: sys.stdout.write('x' * 65536)", {"output"}),
        ("import os\nfor _ in range(10240): os.write(1, b'x' * (1 << 20))", {"output"}),
        ("f = open('big', 'wb')\nwhile True: f.write(b'x' * (1 << 20))", {"failed", "output"}),
        ("import os\nfor i in range(100000): open(str(i), 'w').write('x')", {"failed"}),
        ("import signal, sys\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", {"time"}),
        ("import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()", {"failed", "memory"}),
    ],
)  # fmt: skip
def test_limits_end_it(source, status):
    began = time.monotonic()
    result = run(source)
    assert result.status in status, result
    assert time.monotonic() - began < 20
    assert len(result.stdout) <= SHORT.output


def test_files_cannot_be_placed_outside():
    with pytest.raises(SandboxUnavailable, match="leads out of the box"):
        run("", **{"../../x": "x"})


def test_nothing_runs_without_the_layers(monkeypatch, tmp_path):
    """On a kernel that refuses namespaces, or the filter, the program must not even start."""
    mark = tmp_path / "mark"
    for old, new in (
        ('call(libc.unshare(NEW_NAMESPACES), "namespaces")', 'call(-1, "namespaces")'),
        ('call(libc.prctl(PR_SET_SECCOMP, 2, ctypes.c_char_p(pointer), 0, 0), "seccomp")', 'call(-1, "seccomp")'),
        ('call(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")', 'call(-1, "no_new_privs")'),
    ):
        source = Path(module._LAUNCHER).read_text()
        assert old in source
        broken = tmp_path / "launcher.py"
        broken.write_text(source.replace(old, new))
        monkeypatch.setattr(module, "_LAUNCHER", str(broken))
        with pytest.raises(SandboxUnavailable, match="nothing was run"):
            Sandbox(SHORT, readable=(str(tmp_path),)).run_python(f"open('{mark}', 'w')")
        monkeypatch.undo()
    assert not mark.exists()


def test_the_launcher_dies_with_the_worker():
    code = (
        "import threading, time, os\nfrom stages.synthesize.sandbox import Sandbox\n"
        "threading.Thread(target=lambda: Sandbox().run_python('import time; time.sleep(50)'), daemon=True).start()\n"
        "time.sleep(1.5); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=os.getcwd())
    time.sleep(0.5)
    assert not cages()


def test_as_a_plain_user(tmp_path):
    """The same cage without root, where this interpreter can be read by others."""
    if os.getuid() != 0:
        pytest.skip("the other tests already run as a plain user")
    source = Path(module._LAUNCHER).read_text()
    assert "setgroups" in source
    python = "/usr/bin/python3"
    if not os.path.exists(python):
        pytest.skip("no interpreter that another user may run")
    launcher = tmp_path / "launcher.py"
    launcher.write_text(source)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == os.getuid() and str(folder) != "/":
            folder.chmod(folder.stat().st_mode | 0o055)
    root = tmp_path / "root"
    root.mkdir(mode=0o755)
    os.chown(root, 65534, 65534)
    import base64
    import json

    program = (
        "import os\nn = 0\nprint(os.getuid(), os.path.exists('/etc/passwd'), os.path.exists('/home'))\n"
        "import socket\ntry:\n    socket.socket(); print('OUT')\nexcept OSError:\n    print('no socket')\n"
        "for _ in range(100):\n    try:\n        pid = os.fork()\n    except OSError:\n        print('no more'); break\n"
        "    if pid == 0:\n        import time; time.sleep(5); os._exit(0)\n"
    )
    told, status = os.pipe()
    job = {
        "root": str(root), "readable": [p for p in ("/usr", "/bin", "/lib", "/lib64") if os.path.exists(p)],
        "files": {"main.py": base64.b64encode(program.encode()).decode()}, "command": [python, "-I", "main.py"],
        "environment": {}, "status": status, "memory": 1 << 28, "cpu_s": 5, "processes": 16, "disk": 1 << 20,
    }  # fmt: skip
    done = subprocess.run(
        [python, "-I", "-S", str(launcher)], input=json.dumps(job).encode(), capture_output=True, pass_fds=(status,),
        user=65534, group=65534, extra_groups=[], timeout=30, cwd="/", env={},
    )  # fmt: skip
    os.close(status)
    facts = os.read(told, 4096).decode()
    os.close(told)
    assert done.stdout.decode().split("\n")[:3] == ["1000 False False", "no socket", "no more"], (done, facts)
