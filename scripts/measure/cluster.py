"""Three nodes of `./vikdb` on this machine, for the scripts beside this file."""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def wait_for(what, condition, seconds=600):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            sys.exit(f"{what} did not happen in {seconds} s")
        time.sleep(0.05)
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    def __init__(self, number, directory):
        self.label = f"node{number}"
        self.directory = f"{directory}/{self.label}"
        self.api, self.replication = free_port(), free_port()
        self.log_path = f"{directory}/{self.label}.log"
        self.process = None

    def start(self, members, flags):
        self.process = subprocess.Popen(
            [f"{ROOT}/vikdb", "-addr", f"127.0.0.1:{self.api}", "-replication-port", str(self.replication),
             "-node-id", self.label, "-cluster", members, "-wal-path", f"{self.directory}/wal",
             "-sstable-dir", f"{self.directory}/sst", *flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.log_path, "a"))

    def stop(self, kill=False):
        if self.process:
            self.process.kill() if kill else self.process.terminate()
            self.process.wait()
            self.process = None

    def request(self, method, path, body=None):
        """The answer's body; ValueError unless its status is 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.api, timeout=10)
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        text = response.read().decode()
        if response.status != 200:
            raise ValueError(f"{response.status}: {text}")
        return text

    def metric(self, name):
        return float(re.search(rf"^{name} (\S+)", self.request("GET", "/metrics"), re.MULTILINE)[1])

    @property
    def is_leader(self):
        try:
            return json.loads(self.request("GET", "/cluster/status"))["is_leader"]
        except (OSError, ValueError, KeyError):
            return False

    def log_line(self, text):
        with open(self.log_path) as log:
            return next((line for line in log if text in line), None)

    def reset_high_water(self):
        with open(f"/proc/{self.process.pid}/clear_refs", "w") as file:
            file.write("5")

    @property
    def high_water(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmHWM:\s+(\d+)", status.read())[1]) / 1024


class Cluster:
    """Starts its nodes at `with`, and leaves nothing behind."""

    def __init__(self, parent, flags):
        self.directory = tempfile.mkdtemp(prefix="vik-measure-", dir=parent)
        self.flags = flags
        # So that `with` also ends the nodes when the script is told to stop.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
        self.nodes = [Node(number, self.directory) for number in (1, 2, 3)]

    def __enter__(self):
        for node in self.nodes:
            self.start(node)
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            node.stop(kill=True)
        shutil.rmtree(self.directory)

    def start(self, node):
        node.start(",".join(f"127.0.0.1:{node.replication}" for node in self.nodes), self.flags)

    def wait_for_leader(self):
        return wait_for("an election", lambda: next((node for node in self.nodes if node.is_leader), None), 30)

    @property
    def urls(self):
        return ",".join(f"http://127.0.0.1:{node.api}" for node in self.nodes)
