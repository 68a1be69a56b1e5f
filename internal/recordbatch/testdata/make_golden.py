#!/usr/bin/env python3
"""Makes the golden batches in golden/, with nothing of Wadi's own: the format is
written down here again after Kafka's protocol guide, and the compressors are
zlib and the lz4 and zstd commands of the reference implementations. It was run
once; the files are what the tests rest on."""

import gzip, pathlib, struct, subprocess, tempfile

HERE = pathlib.Path(__file__).parent / "golden"


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def varint(n):
    u = n << 1 if n >= 0 else (-n << 1) - 1
    out = bytearray()
    while u >= 0x80:
        out.append(u & 0x7F | 0x80)
        u >>= 7
    out.append(u)
    return bytes(out)


def blob(b):
    return varint(-1) if b is None else varint(len(b)) + b


def record(i, ts, key, value, headers):
    body = b"\0" + varint(ts) + varint(i) + blob(key) + blob(value) + varint(len(headers))
    for k, v in headers:
        body += blob(k) + blob(v)
    return varint(len(body)) + body


def batch(records, attributes, compress):
    encoded = b"".join(record(i, r[0] - records[0][0], *r[1:]) for i, r in enumerate(records))
    tail = struct.pack(">hiqqqhii", attributes, len(records) - 1, records[0][0], max(r[0] for r in records),
                       4711, 3, 100, len(records)) + compress(encoded)
    return struct.pack(">qiibI", 0, 9 + len(tail), -1, 2, crc32c(tail)) + tail


def command(*args):
    return lambda data: subprocess.run(args, input=data, stdout=subprocess.PIPE, check=True).stdout


def on_file(*args):
    """A command that knows how much there is to come."""

    def compress(data):
        with tempfile.NamedTemporaryFile() as f:
            f.write(data)
            f.flush()
            return subprocess.run([*args, f.name], stdout=subprocess.PIPE, check=True).stdout

    return compress


def snappy(data):
    """A snappy block of literals, and one copy of the last 4 bytes."""
    assert data[-4:] == data[-8:-4]
    out = bytearray()
    n = len(data)
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    for i in range(0, len(data) - 4, 60):
        literal = data[i:min(i + 60, len(data) - 4)]
        out.append((len(literal) - 1) << 2)
        out += literal
    return bytes(out) + bytes([(4 - 4) << 2 | 1, 4])


def xerial(data):
    block = snappy(data)
    return b"\x82SNAPPY\0" + struct.pack(">iii", 1, 1, len(block)) + block


RECORDS = [
    (1700000000000, b"LIS", b"first", []),
    (1700000000250, None, b"", [(b"trace", b"\x01\x02"), (b"none", None), (b"", b"")]),
    (1699999999000, b"", None, []),
    (1700000000001, b"OPO", b'{"delay":12}' * 40 + b"wadiwadi", [(b"h", b"wadiwadi")]),
]

for name, attributes, compress in [
    ("none", 0, bytes),
    ("gzip", 1, lambda data: gzip.compress(data, mtime=0)),
    ("snappy-xerial", 2, xerial),
    ("snappy-plain", 2, snappy),
    ("lz4", 3, command("lz4", "-c", "-z", "-B4")),
    ("lz4-checksums", 3, on_file("lz4", "-c", "-z", "-B6", "-BX", "--content-size")),
    ("zstd", 4, command("zstd", "-c")),
    ("zstd-size", 4, on_file("zstd", "-c")),
    ("zstd-long-window", 4, command("zstd", "-c", "-19", "--no-check")),
]:
    (HERE / (name + ".batch")).write_bytes(batch(RECORDS, attributes, compress))
