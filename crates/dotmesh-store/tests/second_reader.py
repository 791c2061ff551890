"""A second reader of the object format, written from docs/format.md alone, with nothing but Python's own library.

Usage: second_reader.py TESTDATA. Says of each file what is in it, in the words of the test that runs this. It does not hash
or decompress: BLAKE3 and zstd are other people's specifications.
"""

import hashlib
import pathlib
import struct
import sys


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        assert self.at + length <= len(self.data), "ends in the middle of a field"
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def hash(self):
        return self.take(32).hex()

    def more(self):
        return self.at < len(self.data)


def ascending(names):
    assert all(a < b for a, b in zip(names, names[1:])), "out of order"


def entry_name(r):
    name = r.take(r.number("B"))
    assert name and b"/" not in name and b"\0" not in name and name not in (b".", b"..")
    return name


def attributes(r):
    mode, uid, gid = r.number("H"), r.number("I"), r.number("I")
    _seconds, nanoseconds, count = r.number("q"), r.number("I"), r.number("H")
    xattrs = [(r.take(r.number("B")), r.take(r.number("I"))) for _ in range(count)]
    ascending([name for name, _ in xattrs])
    assert mode <= 0o7777 and 0xFFFF_FFFF not in (uid, gid) and nanoseconds < 10**9
    return mode


def entry(r):
    """The entry's name, and the hashes that it names."""
    name, tag = entry_name(r), r.number("B")
    if tag == 5:
        assert all(r.take(r.number("H")).split(b"/"))
        return name, []
    mode = attributes(r)
    if tag == 1:
        size, content = r.number("Q"), r.number("B")
        assert content <= 3 and (size == 0) == (content == 0)
        return name, [r.hash()] if content in (1, 2) else []
    if tag == 2:
        return name, [r.hash()]
    if tag == 3:
        assert mode == 0o777 and r.take(r.number("H"))
        return name, []
    assert tag == 4
    return name, []


def page(data):
    r = Reader(data)
    assert r.number("B") == 1, "another version"
    return r, r.number("B")


def tree_page(data):
    r, level = page(data)
    names, count, named = [], 0, []
    while r.more():
        if level == 0:
            name, hashes = entry(r)
            count += 1
        else:
            name = entry_name(r)
            count += r.number("Q")
            hashes = [r.hash()]
        names.append(name)
        named += hashes
    ascending(names)
    return f"level {level} of {count}", named


def file_page(data):
    r, level = page(data)
    size, was_hole, named = 0, False, []
    while r.more():
        is_hole = level == 0 and r.number("B") == 0
        length = r.number("Q" if level or is_hole else "I")
        assert length > 0 and not (is_hole and was_hole)
        if not is_hole:
            named.append(r.hash())
        size, was_hole = size + length, is_hole
    return f"level {level} of {size}", named


def root(data):
    r = Reader(data)
    assert r.number("B") == 1, "another version"
    attributes(r)
    named = [r.hash()]
    assert not r.more()
    return "root", named


READERS = {1: lambda data: ("chunk", []), 2: file_page, 3: tree_page, 4: root}


def pack(data):
    r = Reader(data)
    assert r.take(7) == b"dotpack"
    version = r.number("B")
    assert version in (1, 2), "another version"
    named = []
    while r.more():
        if version == 2 and r.data[r.at] == 16:
            named += group(r)
            continue
        kind, encoding, raw, stored = r.number("B"), r.number("B"), r.number("I"), r.number("I")
        name, content = r.hash(), r.take(stored)
        assert 1 <= raw <= 1 << 20
        named.append(f"{kind}:{raw}:{name}")
        if encoding == 0:
            assert stored == raw
            named += READERS[kind](content)[1]
        elif encoding == 1:
            assert stored < raw and content[:4] == ZSTD
        else:
            # An XOR delta has the skew between the base's hash and the zstd frame.
            before = {2: 32, 3: 36}[encoding]
            assert before < stored < raw and content[before : before + 4] == ZSTD
            named.append(content[:32].hex())
    return "pack", named


def group(r):
    kind, encoding, raw, stored, count = (r.number(form) for form in "BBIIH")
    assert kind == 16 and encoding in (1, 2) and 1 <= raw <= 1 << 21 and 1 <= count <= 4096
    fields = Reader(r.take(stored))
    named = [f"group:{raw}"]
    if encoding == 2:
        named.append(f"{fields.hash()}:{fields.number('I')}:{fields.number('I')}")
    lengths = []
    for _ in range(count):
        kind, length = fields.number("B"), fields.number("I")
        assert kind in READERS and 1 <= length <= 1 << 20
        named.append(f"{kind}:{length}:{fields.hash()}")
        lengths.append(length)
    assert sum(lengths) == raw
    content = fields.take(len(fields.data) - fields.at)
    assert 1 <= len(content) <= raw + raw // 256 + 64 and content[:4] == ZSTD
    return named


# The magic number of a zstd frame.
ZSTD = b"\x28\xb5\x2f\xfd"

GEAR = [int.from_bytes(hashlib.md5(bytes([b]) * 64).digest()[:8], "big") for b in range(256)]


def chunks(data):
    """The lengths of the chunks of a range of a file."""
    at = 0
    while at < len(data):
        n = min(len(data) - at, 65_536)
        length = n
        if n > 4_096:
            h, center = 0, min(16_384, n) // 2 * 2
            for i in range(4_096, n // 2 * 2):
                h = ((h << 1) + GEAR[data[at + i]]) & (1 << 64) - 1
                if h & (0xD90F_0353_0000 if i < center else 0xD903_0353_0000) == 0:
                    length = i
                    break
        yield length
        at += length


def numbers(length):
    """Bytes as good as random, that every language can make."""
    state = 7
    for _ in range(length):
        state = (state * 1_664_525 + 1_013_904_223) & 0xFFFF_FFFF
        yield state >> 24


def main(testdata):
    folders = {
        "v1/tree-nodes": tree_page,
        "v1/file-nodes": file_page,
        "v1/roots": root,
        "v1/packs": pack,
        "v1/store": pack,
        "v2/store": pack,
    }
    for folder, reader in folders.items():
        for file in sorted(path for path in (testdata / folder).rglob("*") if path.is_file()):
            what, named = reader(file.read_bytes())
            print(f"{file.relative_to(testdata)}:", what, *named)
    print("cuts:", *chunks(bytes(numbers(1_000_000))))


main(pathlib.Path(sys.argv[1]))
