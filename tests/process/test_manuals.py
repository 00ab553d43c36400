#!/usr/bin/env python3
"""What the programs say of their options, and what the manual pages, README.md and docs/ say of them.

test_manuals.py SOURCE-DIR PARLEYD PARLEY PARLEY-DEMO

Every option that a --help has is in the manual page, of `parley` in the part about its command, and the other way round.
README.md and docs/ give programs no options that they do not have, no links to what is not there, and no benchmarks. Every variable of the environment that is read is in a
manual page. groff has nothing to say of the pages, where it is installed.
"""

import pathlib
import re
import shutil
import subprocess
import sys

source = pathlib.Path(sys.argv[1])
parleyd, parley, demo = sys.argv[2:5]
LONG = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*")
PAIR = re.compile(r"(?<![\w-])(-\w), (--[a-z][a-z0-9-]*)")
wrong = []


def help_of(*command):
    run = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60, check=True)
    return run.stdout


def page(name):
    """The page's text, without roff's marks, so that `-w, --watch` stands as in a --help."""
    text = (source / "docs" / name).read_text()
    text = re.sub(r"\\f[BIRP]|\\&", "", text.replace("\\-", "-"))
    return re.sub(r"[ \"]*,[ \"]+", ", ", text)


def must(condition, words):
    if not condition:
        wrong.append(words)


def compare(what, told, text):
    """`told` by --help and `text` of a manual have the same options; either may speak of other programs' beside."""
    for option in sorted(entries(told) - set(LONG.findall(text))):
        wrong.append(f"{what}: --help has {option}, the manual has not")
    for option in sorted(set(LONG.findall(text)) - set(LONG.findall(told)) - elsewhere):
        wrong.append(f"{what}: the manual has {option}, --help has not")
    for short, option in PAIR.findall(told):
        must(f"{short}, {option}" in text, f"{what}: the manual does not say that {option} is {short}, too")


def entries(told):
    """The options that a --help explains; what it says of others stands in its sentences."""
    return set(LONG.findall(re.sub(r"^(?!  +-).*$", "", told, flags=re.M)))


top = help_of(parley)
commands = re.findall(r"^  (\w+)  +\w", top[top.index("Commands:"):top.index("Options,")], re.M)
common = entries(top)
helps = {"parleyd": help_of(parleyd), "parley-demo": help_of(demo), "parley": top}
helps |= {f"parley {command}": help_of(parley, command) for command in commands}
# What texts speak of beside: protoc's, and what other commands have.
elsewhere = {"--include_imports", "--descriptor_set_out"}.union(*map(entries, helps.values()))

for name in ("parleyd", "parley-demo"):
    compare(name, helps[name], page(f"{name}.1"))
options, manual = page("parley.1").split(".SH COMMANDS")
compare("parley", "\n".join(re.findall(r"^  +-.*", top, re.M)), options)
sections = {}
for part in re.split(r"^\.TP\n", manual.split("\n.SH ")[0], flags=re.M)[1:]:
    heading = re.match(r'\.B[RI]* "?parley (\w+)', part)
    command = heading.group(1) if heading else command
    sections[command] = sections.get(command, "") + part
must(sorted(commands) == sorted(sections), f"parley: commands {sorted(commands)}, in the manual {sorted(sections)}")
for command in commands:
    compare(f"parley {command}", helps[f"parley {command}"].split("\nOptions of every command")[0], sections.get(command, ""))

# Texts: `parleyd --x`, `parley call --x`, also over several lines of one command.
for path in [source / "README.md", *sorted((source / "docs").glob("*.md"))]:
    text = path.read_text().replace("\\\n", " ")
    codes = re.findall(r"`([^`\n]+)`", text) + [line for block in re.findall(r"```.*?\n(.*?)```", text, re.S) for line in block.split("\n")]
    for code in codes:
        for piece in re.split(r"[|;&]|\$\(|<\(", code.split(" # ")[0]):
            words = piece.split()
            for name in ("parleyd", "parley", "parley-demo"):
                if name not in words:
                    continue
                rest = words[words.index(name) + 1:]
                verbs = [word for word in rest if word in commands]
                key = f"parley {verbs[0]}" if name == "parley" and verbs else name
                for option in LONG.findall(" ".join(rest)):
                    must(option in set(LONG.findall(helps[key])) | (common if name == "parley" else set()), f"{path.name}: \"{code.strip()}\": {key} has no {option}")

# Links lead somewhere, to a heading too, and what is to be run is there.
def anchors(path):
    """The names that a forge gives to the headings of a text."""
    lines = re.findall(r"^#+ +(.*)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.S), re.M)
    words = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line)).lower() for line in lines]
    return {word.replace(" ", "-") for word in words}


benches = set(re.findall(r"^  '(\w+)' : \[", (source / "bench/meson.build").read_text(), re.M)) | {"load", "peers"}
peers = set(re.findall(r'\.name = "([\w-]+)"', "".join(path.read_text() for path in (source / "bench").rglob("*.c*"))))
links = 0
for path in [*sorted(source.glob("*.md")), *sorted((source / "docs").glob("*.md")), *sorted((source / "services").rglob("*.md"))]:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    for target, anchor in re.findall(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]*))?\)", text):
        links += 1
        there = path.parent / target if target else path
        must(there.exists(), f"{path.name}: a link to {target}, which is not there")
        must(not anchor or there.suffix != ".md" or not there.exists() or anchor in anchors(there), f"{path.name}: a link to {target}#{anchor}, and no such heading")
    for name, rest in re.findall(r"\./run bench ([a-z]\w*)([^`|;\n]*)", text):
        must(name in benches, f"{path.name}: there is no ./run bench {name}")
        for only in re.findall(r"--only ([a-z][\w,-]*)", rest) if name == "peers" else []:
            for word in only.split(","):
                must(any(peer.startswith(word) for peer in peers), f"{path.name}: ./run bench {name} --only {only}: no peer is called {word}")
must(links > 50 and len(benches) > 20 and len(peers) > 10, f"links and benchmarks are looked for in vain: {links}, {sorted(benches)}, {sorted(peers)}")

# What happens on the bus: every topic that the broker publishes is where topics are listed.
published = "".join(path.read_text() for path in sorted((source / "bus/broker").glob("*.c")))
topics = set(re.findall(r'\btopic = "([a-z.]+)"', published)) | set(re.findall(r'"((?:instance|audit)\.[a-z]+)"', published))
topics -= {"audit.suppressed"}  # a line of the file alone
must(len(topics) > 20, f"topics are looked for in vain: {sorted(topics)}")
lists = {"parley.1": page("parley.1"), "parley events --help": helps["parley events"], "PROTOCOL.md": (source / "docs/PROTOCOL.md").read_text()}
for what, text in lists.items():
    for topic in sorted(topics):
        must(re.search(rf"\b{topic}(?![\w.])", text) or topic.split(".")[0] + ".*" in text or topic.startswith("rollout.") and "rollout.WHAT" in text,
             f"{what}: events of the topic {topic} are published, and not listed")

# The terminal's, the dynamic linker's, systemd's.
ELSEWHERE_EXPLAINED = {"TERM", "LD_PRELOAD", "WATCHDOG_PID", "JOURNAL_STREAM"}
manuals = "".join(page(name.name) for name in sorted((source / "docs").glob("*.[17]")))
for path in sorted((source / "bus").rglob("*.c")):
    for name in re.findall(r'(?:getenv|in_dir|or_env)\((?:[\w.>-]+, )?"(\w+)"', path.read_text()):
        must(name in ELSEWHERE_EXPLAINED or re.search(rf"\b{name}\b", manuals), f"{path.relative_to(source)}: {name} is read, and in no manual page")

if shutil.which("groff"):
    for path in sorted((source / "docs").glob("*.[17]")):
        run = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", path], capture_output=True, text=True, timeout=60, check=False)
        must(not run.stderr, f"{path.name}: {run.stderr.strip()}")

for words in wrong:
    print(words)
print(f"{len(wrong)} wrong" if wrong else f"the manuals agree with {len(commands) + 3} texts of help")
sys.exit(1 if wrong else 0)
