"""Builds the cage that a program runs in, from inside, and starts the program in it. A script, never imported.

`sandbox.py` starts it as `python -I -S sandbox_launcher.py`, with the job as JSON on standard input. Two layers, each
of which alone would hold most of what a program can try:

1. Namespaces. A new user, mount, process, network, IPC and host-name namespace: the root is an empty file system with
   the interpreter and libraries bound in read-only and one writable folder of limited size, there is no network device,
   and no process outside can be seen or signalled.
2. The program's own rights. An id that owns nothing outside, no capabilities, no way to gain any; resource limits; a
   seccomp filter that refuses sockets, mounts, namespaces, tracing and kernel interfaces; and Landlock, where the
   kernel has it, which allows writing to the one folder only.

If a layer cannot be set up the launcher says which and exits: nothing runs with one layer less (Landlock excepted,
which repeats what the mounts do).

Trade-off: the filter lists what is refused, not what is allowed, so that any interpreter runs; a new system call of a
new kernel is not on it. That is what the first layer is for.
"""

import base64
import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWTIME = 0x10000000, 0x20000000, 0x40000000, 0x80
NEW_NAMESPACES = (
    CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP
)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
#: Id of the program inside, and outside where the launcher is root: the kernel limits root's processes by nothing.
INSIDE, NOBODY = 1000, 65534
PIVOT_ROOT, MOUNT_SETATTR = 155, 442
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446

#: System calls that the filter refuses, x86-64.
REFUSED = {
    "socket": 41, "connect": 42, "bind": 49, "listen": 50, "shmget": 29, "shmat": 30, "semget": 64, "msgget": 68,
    "ptrace": 101, "syslog": 103, "mknod": 133, "personality": 135, "vhangup": 153, "modify_ldt": 154,
    "pivot_root": 155, "adjtimex": 159, "chroot": 161, "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166,
    "swapon": 167, "swapoff": 168, "reboot": 169, "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173,
    "init_module": 175, "delete_module": 176, "quotactl": 179, "lookup_dcookie": 212, "clock_settime": 227,
    "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "mknodat": 259, "unshare": 272,
    "perf_event_open": 298, "fanotify_init": 300, "name_to_handle_at": 303, "open_by_handle_at": 304,
    "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
    "finit_module": 313, "memfd_create": 319, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323,
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_getfd": 438, "process_madvise": 440,
    "mount_setattr": 442, "quotactl_fd": 443, "memfd_secret": 447,
}  # fmt: skip
CLONE, CLONE3, IOCTL = 56, 435, 16
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
EPERM, ENOSYS = 1, 38


class Unavailable(Exception):
    """A layer cannot be set up here."""


def call(result: int, what: str) -> int:
    if result < 0:
        raise Unavailable(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    call(
        libc.mount(
            source.encode(), target.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags), data.encode()
        ),
        f"mount {target}",
    )


def enter_namespaces() -> None:
    """Become the owner of new namespaces, with `INSIDE` as an id in them."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:  # two ids need a writer outside: a child that stays there
        ready, go = os.pipe(), os.pipe()
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            os.close(ready[1])
            os.close(go[0])
            try:
                os.read(ready[0], 1)
                for name in ("uid_map", "gid_map"):
                    with open(f"/proc/{parent}/{name}", "w") as file:
                        file.write(f"0 0 1\n{INSIDE} {NOBODY} 1\n")
                os.write(go[1], b"1")
            finally:
                os._exit(0)
        os.close(ready[0])
        os.close(go[1])
        call(libc.unshare(NEW_NAMESPACES), "namespaces")
        os.write(ready[1], b"1")
        if os.read(go[0], 1) != b"1":
            raise Unavailable("namespaces: the id map cannot be written")
        os.waitpid(child, 0)
        os.close(ready[1])
        os.close(go[0])
        return
    call(libc.unshare(NEW_NAMESPACES), "namespaces")
    for name, line in (("setgroups", "deny"), ("uid_map", f"{INSIDE} {uid} 1"), ("gid_map", f"{INSIDE} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)


def read_only(target: str) -> None:
    """Make a mount, and all that is mounted below it, read-only. Kernels before 5.12 do one mount at a time: there a
    tree with others below is refused."""
    attributes = struct.pack("QQQQ", 1 | 2, 0, 0, 0)  # read-only, no set-id
    if libc.syscall(MOUNT_SETATTR, -100, target.encode(), 0x8000, attributes, len(attributes)) == 0:
        return
    with open("/proc/self/mountinfo") as file:
        below = [line.split()[4] for line in file if line.split()[4].startswith(f"{target}/")]
    if below:
        raise Unavailable(f"read-only mounts below {target}: this kernel cannot make them")
    kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC | 1024 | 2048)  # what cannot be taken off
    mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | kept)


def build_root(job: dict) -> None:
    """Make `job["root"]`, an empty folder, the root of all that can be seen, and the box the current folder."""
    root = job["root"]
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=0755")
    for path in job["readable"]:
        target = root + path
        if os.path.islink(path):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.symlink(os.readlink(path), target)
            continue
        os.makedirs(target, exist_ok=True)
        mount(path, target, None, MS_BIND | MS_REC)
        read_only(target)
    os.makedirs(f"{root}/dev")
    for name in ("null", "zero", "urandom", "random"):
        open(f"{root}/dev/{name}", "w").close()
        mount(f"/dev/{name}", f"{root}/dev/{name}", None, MS_BIND)
    os.makedirs(f"{root}/box")
    mount("tmpfs", f"{root}/box", "tmpfs", MS_NOSUID | MS_NODEV, f"size={job['disk']},nr_inodes=4096,mode=0777")
    for name, content in job["files"].items():
        path = os.path.normpath(f"{root}/box/{name}")
        if not path.startswith(f"{root}/box/"):
            raise Unavailable(f"file name '{name}' leads out of the box")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(base64.b64decode(content))
    for folder, _, names in os.walk(f"{root}/box"):
        for path in (folder, *(f"{folder}/{name}" for name in names)):
            os.chown(path, INSIDE, INSIDE)
    os.makedirs(f"{root}/old")
    call(libc.syscall(PIVOT_ROOT, root.encode(), f"{root}/old".encode()), "pivot_root")
    os.chdir("/")
    call(libc.umount2(b"/old", MNT_DETACH), "umount of the old root")
    os.rmdir("/old")
    mount("none", "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    os.chdir("/box")


def limit(job: dict) -> None:
    """Resource limits of each process."""
    for what, value in (
        (resource.RLIMIT_AS, job["memory"]),
        (resource.RLIMIT_CPU, job["cpu_s"]),
        (resource.RLIMIT_NPROC, job["processes"]),
        (resource.RLIMIT_FSIZE, job["disk"]),
        (resource.RLIMIT_NOFILE, 128),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        value = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard - (what == resource.RLIMIT_CPU))
        # A second between the signal and the kill, by which the two can be told from other deaths.
        resource.setrlimit(what, (value, value if what != resource.RLIMIT_CPU else value + 1))


def drop_rights() -> None:
    """Another id, no capabilities, none to gain."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(INSIDE, INSIDE, INSIDE)
        os.setresuid(INSIDE, INSIDE, INSIDE)
    call(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    header = struct.pack("Ii", 0x20080522, 0)
    call(libc.capset(header, b"\0" * 24), "capabilities")


def restrict_files(readable: list[str]) -> bool:
    """Landlock: read and execute what is bound in, write below the box. Whether the kernel has it."""
    abi = libc.syscall(LANDLOCK_CREATE, None, 0, 1)
    if abi < 1:
        return False
    reading = 1 << 0 | 1 << 2 | 1 << 3  # execute, read file, read folder
    handled = (1 << 13) - 1 | (1 << 13 if abi >= 2 else 0) | (1 << 14 if abi >= 3 else 0)
    ruleset = call(libc.syscall(LANDLOCK_CREATE, struct.pack("Q", handled), 8, 0), "landlock")
    rules = [(path, reading) for path in readable] + [("/box", handled & ~(1 << 6 | 1 << 11))]
    rules += [(f"/dev/{name}", 1 << 1 | 1 << 2) for name in ("null", "zero")]
    rules += [(f"/dev/{name}", 1 << 2) for name in ("urandom", "random")]
    for path, rights in rules:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        call(libc.syscall(LANDLOCK_ADD, ruleset, 1, struct.pack("=Qi", rights, handle), 0), f"landlock {path}")
        os.close(handle)
    call(libc.syscall(LANDLOCK_RESTRICT, ruleset, 0), "landlock")
    os.close(ruleset)
    return True


def filter_calls() -> None:
    """The seccomp filter, as a program of the kernel's packet filter."""
    if platform.machine() != "x86_64":
        raise Unavailable(f"seccomp: there is no filter for {platform.machine()}, only for x86_64")
    load, jump_equal, jump_set, jump_above, give = 0x20, 0x15, 0x45, 0x35, 0x06
    allow, kill, refuse, absent = 0x7FFF0000, 0x80000000, 0x00050000 | EPERM, 0x00050000 | ENOSYS
    namespaces = NEW_NAMESPACES | CLONE_NEWTIME
    code = [
        (load, 0, 0, 4),  # architecture
        (jump_equal, 1, 0, 0xC000003E),
        (give, 0, 0, kill),
        (load, 0, 0, 0),  # number of the call
        (jump_above, 0, 1, 0x40000000),  # the x32 calls would go around the list
        (give, 0, 0, kill),
        (jump_equal, 0, 1, CLONE3),  # its flags are in memory, which a filter cannot read: libc falls back to clone
        (give, 0, 0, absent),
        (jump_equal, 0, 4, CLONE),
        (load, 0, 0, 16),
        (jump_set, 0, 1, namespaces),
        (give, 0, 0, refuse),
        (give, 0, 0, allow),
        (jump_equal, 0, 5, IOCTL),
        (load, 0, 0, 24),
        (jump_equal, 1, 0, TIOCSTI),
        (jump_equal, 0, 1, TIOCLINUX),
        (give, 0, 0, refuse),
        (give, 0, 0, allow),
    ]
    for number in sorted(REFUSED.values()):
        code += [(jump_equal, 0, 1, number), (give, 0, 0, refuse)]
    code.append((give, 0, 0, allow))
    program = b"".join(struct.pack("HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(program)
    pointer = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer))
    call(libc.prctl(PR_SET_SECCOMP, 2, ctypes.c_char_p(pointer), 0, 0), "seccomp")


def program(job: dict, status: int) -> None:
    """Give up all rights and become the program. Does not return."""
    try:
        os.setsid()
        limit(job)
        drop_rights()
        landlock = restrict_files([p for p in job["readable"] if not os.path.islink(p)])
        filter_calls()
        os.write(status, json.dumps({"landlock": landlock}).encode() + b"\n")
    except Exception as error:
        os.write(status, json.dumps({"unavailable": str(error)}).encode() + b"\n")
        os._exit(125)
    os.closerange(3, 4096)
    try:
        os.execve(job["command"][0], job["command"], job["environment"])
    except OSError as error:
        os.write(2, f"{job['command'][0]}: {error.strerror}\n".encode())
    os._exit(127)


def first_process(job: dict, status: int) -> None:
    """Process 1 inside: when it ends the kernel kills all others. Does not return."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    try:
        build_root(job)
    except Exception as error:
        os.write(status, json.dumps({"unavailable": str(error)}).encode() + b"\n")
        os._exit(125)
    child = os.fork()
    if child == 0:
        program(job, status)
    for handle in (0, 1, 2):
        os.close(handle)
    while True:
        pid, code = os.wait()
        if pid == child:
            break
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    os.write(status, json.dumps({"code": code, "cpu_s": used.ru_utime + used.ru_stime}).encode() + b"\n")
    os._exit(0)


def main() -> None:
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    job = json.load(sys.stdin)
    status = job["status"]
    try:
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, 0)
        enter_namespaces()
        first = os.fork()
    except Exception as error:
        os.write(status, json.dumps({"unavailable": str(error)}).encode() + b"\n")
        os._exit(125)
    if first == 0:
        first_process(job, status)
    for handle in (1, 2):
        os.close(handle)
    os.waitpid(first, 0)
    os._exit(0)


if __name__ == "__main__":
    main()
