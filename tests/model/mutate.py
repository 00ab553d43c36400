#!/usr/bin/env python3
"""One mutant of a source: mutate.py [--with USER] SOURCE OUTPUT OLD NEW [OLD NEW...]

With USER, SOURCE is a header, and the output goes on with USER, a source that includes it.
Each OLD must occur in SOURCE exactly once. If it does not, the source has changed, and whoever
changed it looks at what this mutant stands for (tests/model/meson.build): that is the point.
"""
import sys


def main(source, output, *texts, user=None):
    with open(source, encoding="utf-8") as file:
        text = file.read()
    for old, new in zip(texts[::2], texts[1::2]):
        count = text.count(old)
        if count != 1:
            sys.exit(f"{source}: the text of a mutant occurs {count} times and not once:\n{old}\n"
                     "Adapt the mutant in tests/model/meson.build, if it still means something.")
        text = text.replace(old, new)
    with open(output, "w", encoding="utf-8") as file:
        file.write(f'#line 1 "{source}"\n' + text)
        if user:
            file.write(f'#include "{user}"\n')


if __name__ == "__main__":
    if sys.argv[1] == "--with":
        main(*sys.argv[3:], user=sys.argv[2])
    else:
        main(*sys.argv[1:])
