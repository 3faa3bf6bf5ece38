"""Runs the lines of a page of docs/ in a shell, and compares what is answered with what the page says.

    page.py PATH-OF-WORKBENCH PAGE [--record]

A block `sh` is lines for the shell; a block of another kind after it is all that they print. A line that begins with
`cargo run --example workbench`, in whatever profile, is a server: it is started by the path, on a free port in the place of
the page's. What differs each time (ids, times, tags) is compared by where it stands. `--record` writes down what is answered.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile

IGNORED = re.compile(r"(date|content-length|vary|access-control-[a-z-]+): ", re.IGNORECASE)
DIFFERS = [
    ("id", re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")),
    ("tag", re.compile(r"(?<=\")(?:pending-)?[0-9a-f]{16}(?=\")")),
    ("time", re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")),
    ("date", re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")),
    ("age", re.compile(r"(?<=^age: )\d+$", re.MULTILINE)),
]
WIDTH = 128
END = "--- end of the line ---"


class Names:
    """Ids by the order in which they turn up, so that one is not taken for another; of times it is enough that there are any."""

    def __init__(self):
        self.seen = {}

    def hide(self, text):
        for name, pattern in DIFFERS:
            def named(match):
                if name in ("id", "tag"):
                    known = self.seen.setdefault(name, {})
                    return "{%s:%d}" % (name, known.setdefault(match[0], len(known) + 1))
                return "{%s}" % name
            text = pattern.sub(named, text)
        return text


class Shell:
    def __init__(self, folder):
        self.process = subprocess.Popen(
            ["bash"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, line):
        self.process.stdin.write(f"{line}\necho; echo '{END}'\n")
        self.process.stdin.flush()
        said = ""
        while not said.endswith(f"\n{END}\n"):
            more = self.process.stdout.readline()
            assert more, f"the shell has ended: {line}"
            said += more
        return said[:-len(END) - 2]

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Servers:
    """Those that the page starts: each listens elsewhere than the page says."""

    def __init__(self, workbench):
        self.workbench, self.running = workbench, []

    def start(self, line):
        arguments = shlex.split(line.rstrip("& ").split(" -- ", 1)[1])
        at = arguments.index("--listen") + 1
        told, arguments[at] = arguments[at], "127.0.0.1:0"
        process = subprocess.Popen([self.workbench, *arguments], stdout=subprocess.PIPE, text=True)
        first = process.stdout.readline().strip()
        prefix = "listening on http://"
        assert first.startswith(prefix), first
        self.running.append((process, told, first[len(prefix):]))

    def there(self, line):
        for _, told, real in self.running:
            line = line.replace(told, real)
        return line

    def here(self, said):
        for _, told, real in self.running:
            said = said.replace(real, told)
        return said

    def end(self):
        for process, _, _ in self.running:
            process.terminate()
            process.wait()


def document(text):
    """A long document, broken into lines."""
    try:
        return text if len(text) <= WIDTH else json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def shown(said):
    """What is printed, as pages have it."""
    said = "\n".join(line.rstrip() for line in said.split("\n")).strip("\n")
    if not said.startswith("HTTP/"):
        return document(said)
    head, _, body = said.partition("\n\n")
    head = "\n".join(line for line in head.split("\n") if not IGNORED.match(line))
    return f"{head}\n\n{document(body)}".strip("\n")


def blocks(page):
    """Of a page: prose, and blocks by their kind."""
    kind, lines = None, []
    for line in page.split("\n"):
        if line.startswith("```"):
            yield kind, lines
            kind, lines = (line[3:] if kind is None else None), []
        else:
            lines.append(line)
    yield kind, lines


def main():
    workbench, path = os.path.abspath(sys.argv[1]), sys.argv[2]
    with open(path) as file:
        page = file.read()
    recorded, differing, ran = [], 0, 0
    servers, wanted_names, names = Servers(workbench), Names(), Names()
    with tempfile.TemporaryDirectory() as folder:
        shell, said, last = Shell(folder), None, None
        try:
            for kind, lines in blocks(page):
                if kind is None:
                    recorded += lines
                    continue
                if kind == "sh":
                    assert not said, f"the page does not tell what is answered to {last}"
                    said = ""
                    for last in lines:
                        if re.match(r"cargo run .*--example workbench", last):
                            servers.start(last)
                        else:
                            said += shell.run(servers.there(last))
                        ran += 1
                    said = servers.here(said).strip("\r\n")
                else:
                    got, wanted = shown(said), "\n".join(lines).strip("\n")
                    said, lines = None, got.split("\n")
                    hidden = names.hide(got), wanted_names.hide(wanted)
                    if hidden[0] != hidden[1] and "--record" not in sys.argv:
                        differing += 1
                        print(f"{path}: {last}\n--- the page says\n{hidden[1]}\n--- it answers\n{hidden[0]}\n---")
                recorded += [f"```{kind}", *lines, "```"]
            assert not said, f"the page does not tell what is answered to {last}"
        finally:
            shell.end()
            servers.end()
    if "--record" in sys.argv:
        with open(path, "w") as file:
            file.write("\n".join(recorded))
    print(f"{ran} lines ran, {differing} differ")
    sys.exit(1 if differing or not ran else 0)


if __name__ == "__main__":
    main()
