#!/usr/bin/env python3
"""Writes vectors.json: SPEC.md implemented a second time, in plain Python, to check the first against.

Uses the standard library only. Run it from anywhere: python3 make.py > vectors.json
"""
import hashlib
import json
import struct
from math import floor, inf, sqrt


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def f32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def floats(values) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


# -- canonical JSON (RFC 8785) -------------------------------------------------------------------------------------


def number(value) -> str:
    """A number as ECMAScript writes it: the shortest digits that read back, exponents only beyond 1e21 and 1e-7."""
    if value == 0:
        return "0"
    if value < 0:
        return "-" + number(-value)
    text = repr(float(value))
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = int(exponent or 0) + len(whole) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    power = point - 1
    head = digits[0] + ("." + digits[1:] if count > 1 else "")
    return f"{head}e{'+' if power > 0 else '-'}{abs(power)}"


def canonical(value) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ",".join(canonical(item) for item in value) + "]"
    keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
    return "{" + ",".join(f"{canonical(key)}:{canonical(value[key])}" for key in keys) + "}"


# -- layout, payloads, grid ----------------------------------------------------------------------------------------

GRID = 2**30
BLOCK = 256
INT4_BLOCK = 64
SIGN_BLOCK = 256
CHUNK = 4096


def size(tensor) -> int:
    count = 1
    for axis in tensor["shape"]:
        count *= axis
    return count


def layout_digest(layout) -> bytes:
    return sha256(b"glossa/layout/1\n" + canonical(layout).encode())


def header(codec, parameter, layout) -> bytes:
    total = sum(map(size, layout))
    return b"GLSU" + struct.pack("<BBH8sII", 1, codec, parameter, layout_digest(layout)[:8], len(layout), total)


def to_grid(value: float) -> int:
    """Nearest integer, a half upwards. value * 2^30 is exact, and so is floor of it plus a half for these values."""
    scaled = value * GRID
    down = floor(scaled)
    return down + 1 if scaled - down >= 0.5 else down


def encode_float32(values, layout) -> bytes:
    return header(0, 0, layout) + floats(values)


def decode_float32(payload, layout):
    return [to_grid(value) for value in struct.unpack(f"<{sum(map(size, layout))}f", payload[24:])]


def tensors(layout, values):
    """Each tensor's rank and its own values."""
    at = 0
    for tensor in layout:
        yield len(tensor["shape"]), values[at : at + size(tensor)]
        at += size(tensor)


def cut(values, length):
    return [values[at : at + length] for at in range(0, len(values), length)]


def bytes_of_bits(bits) -> bytes:
    """Bits in bytes, from the lowest of a byte up; the last byte filled up with zeros."""
    return bytes(sum(bit << place for place, bit in enumerate(byte)) for byte in cut(bits, 8))


def bits_of(value: int, count: int):
    return [value >> place & 1 for place in range(count)]


def int_block(block, largest_code):
    scale = f32(max(map(abs, block)) / largest_code)
    return scale, [0 if scale == 0 else floor(value / scale + 0.5) for value in block]


def sign_block(block):
    total = 0.0
    for value in block:
        total += abs(value)
    return f32(total / len(block)), [1 if value < 0 else 0 for value in block]


# name: id, block size, bits of a code, writer of a block, value of an unsigned code in units of the scale
BLOCK_CODECS = {
    "int8": (1, BLOCK, 8, lambda block: int_block(block, 127), lambda code: code - 256 * (code > 127)),
    "int4": (2, INT4_BLOCK, 4, lambda block: int_block(block, 7), lambda code: code - 16 * (code > 7)),
    "sign": (4, SIGN_BLOCK, 1, sign_block, lambda code: 1 - 2 * code),
}


def encode_blocks(name, values, layout) -> bytes:
    codec, length, bits, write, _ = BLOCK_CODECS[name]
    vectors, scales, codes = [], [], b""
    for rank, own in tensors(layout, values):
        if rank == 1:
            vectors += own
            continue
        for block in cut(own, length):
            scale, block_codes = write(block)
            scales.append(scale)
            codes += bytes_of_bits([bit for code in block_codes for bit in bits_of(code, bits)])
    return header(codec, length, layout) + floats(vectors) + floats(scales) + codes


def decode_blocks(name, payload, layout):
    _, length, bits, _, value_of = BLOCK_CODECS[name]
    count = sum(size(t) for t in layout if len(t["shape"]) == 1)
    blocks = sum(-(-size(t) // length) for t in layout if len(t["shape"]) > 1)
    vectors = iter(struct.unpack_from(f"<{count}f", payload, 24))
    scales = iter(struct.unpack_from(f"<{blocks}f", payload, 24 + 4 * count))
    at = 24 + 4 * (count + blocks)
    grid = []
    for tensor in layout:
        if len(tensor["shape"]) == 1:
            grid += [to_grid(next(vectors)) for _ in range(size(tensor))]
            continue
        for start in range(0, size(tensor), length):
            own = min(length, size(tensor) - start)
            packed = int.from_bytes(payload[at : at + -(-own * bits // 8)], "little")
            at += -(-own * bits // 8)
            scale = next(scales)
            for place in range(own):
                code = packed >> place * bits & 2**bits - 1
                grid.append(to_grid(value_of(code) * scale))
    return grid


def encode_int8(values, layout) -> bytes:
    return encode_blocks("int8", values, layout)


def decode_int8(payload, layout):
    return decode_blocks("int8", payload, layout)


# -- topk ----------------------------------------------------------------------------------------------------------


def kept_of(count, k):
    return -(-k * count // CHUNK)


def two_levels(magnitudes):
    """The recommended pair of levels: the best split of the magnitudes between buckets of their upper 15 bits."""
    buckets = {}
    for magnitude in magnitudes:
        bucket = struct.unpack("<I", struct.pack("<f", magnitude))[0] >> 16
        count, total = buckets.get(bucket, (0, 0.0))
        buckets[bucket] = (count + 1, total + magnitude)
    ordered = [buckets[bucket] for bucket in sorted(buckets)]
    total = 0.0
    for _, part in ordered:
        total += part
    best, count, below = None, 0, 0.0
    for own_count, own_sum in ordered:
        count += own_count
        below += own_sum
        rest = len(magnitudes) - count
        low = below / count
        high = (total - below) / rest if rest else low
        score = low * below + high * (total - below)
        if best is None or (rest and score > best[0]):
            best = (score, low, high)
    return [min(2**32 - 1, to_grid(level)) for level in best[1:]]


def rice(gap, parameter):
    return [0] * (gap >> parameter) + [1] + bits_of(gap, parameter)


def encode_topk(values, layout, k) -> bytes:
    vector_scales, vector_codes, levels, parameters, codes, gap_bits = [], [], [], [], [], []
    for rank, own in tensors(layout, values):
        if rank == 1:
            for block in cut(own, BLOCK):
                scale, block_codes = int_block(block, 127)
                vector_scales.append(scale)
                vector_codes += block_codes
            continue
        kept, gaps = [], []
        for chunk in cut(own, CHUNK):
            by_size = sorted(range(len(chunk)), key=lambda index: (-abs(chunk[index]), index))
            indices = sorted(by_size[: kept_of(len(chunk), k)])
            kept += [chunk[index] for index in indices]
            gaps += [index - before - 1 for before, index in zip([-1] + indices, indices)]
        low, high = two_levels([abs(value) for value in kept])
        parameter = min(range(13), key=lambda r: sum((gap >> r) + 1 + r for gap in gaps))
        levels += [low, high]
        parameters.append(parameter)
        codes += [bit for value in kept for bit in (int(value < 0), int(2 * GRID * abs(value) >= low + high))]
        gap_bits += [bit for gap in gaps for bit in rice(gap, parameter)]
    vectors = floats(vector_scales) + struct.pack(f"<{len(vector_codes)}b", *vector_codes)
    fixed = vectors + struct.pack(f"<{len(levels)}I", *levels) + bytes(parameters)
    return header(3, k, layout) + fixed + bytes_of_bits(codes) + bytes_of_bits(gap_bits)


def decode_topk(payload, layout, k):
    sizes = {rank: [size(t) for t in layout if (len(t["shape"]) == 1) == rank] for rank in (True, False)}
    chunks = [[min(CHUNK, n - start) for start in range(0, n, CHUNK)] for n in sizes[False]]
    blocks = sum(-(-n // BLOCK) for n in sizes[True])
    at = 24
    scales = iter(struct.unpack_from(f"<{blocks}f", payload, at))
    at += 4 * blocks
    vector_codes = iter(struct.unpack_from(f"<{sum(sizes[True])}b", payload, at))
    at += sum(sizes[True])
    levels = iter(struct.unpack_from(f"<{2 * len(chunks)}I", payload, at))
    at += 8 * len(chunks)
    parameters = iter(payload[at : at + len(chunks)])
    at += len(chunks)
    kept = sum(kept_of(n, k) for matrix in chunks for n in matrix)
    codes = iter([bit for byte in payload[at : at + -(-kept // 4)] for bit in bits_of(byte, 8)])
    at += -(-kept // 4)
    gaps = iter([bit for byte in payload[at:] for bit in bits_of(byte, 8)])
    matrices = iter(chunks)
    grid = []
    for tensor in layout:
        if len(tensor["shape"]) == 1:
            for start in range(0, size(tensor), BLOCK):
                scale = next(scales)
                grid += [to_grid(next(vector_codes) * scale) for _ in range(min(BLOCK, size(tensor) - start))]
            continue
        pair = [next(levels), next(levels)]
        parameter = next(parameters)
        for count in next(matrices):
            values, index = [0] * count, -1
            for _ in range(kept_of(count, k)):
                quotient = 0
                while next(gaps) == 0:
                    quotient += 1
                remainder = sum(next(gaps) << place for place in range(parameter))
                index += (quotient << parameter) + remainder + 1
                negative, level = next(codes), next(codes)
                values[index] = -pair[level] if negative else pair[level]
            grid += values
    return grid


# -- rows of a shared embedding, the layout's last tensor ----------------------------------------------------------


def row_parameter(held, size):
    parameter = 0
    while held * 2 ** (parameter + 1) <= size - held:
        parameter += 1
    return parameter


def encode_rows(rows, rows_in_all) -> bytes:
    parameter = row_parameter(len(rows), rows_in_all)
    gaps = [row - before - 1 for before, row in zip([-1] + rows, rows)]
    return bytes_of_bits([bit for gap in gaps for bit in rice(gap, parameter)])


def decode_rows(data, held, rows_in_all):
    parameter, rows, last = row_parameter(held, rows_in_all), [], -1
    bits = iter([bit for byte in data for bit in bits_of(byte, 8)])
    for _ in range(held):
        quotient = 0
        while next(bits) == 0:
            quotient += 1
        last += 1 + (quotient << parameter) + sum(next(bits) << place for place in range(parameter))
        rows.append(last)
    return rows


def sub_layout(layout, held):
    return layout[:-1] + [{"name": layout[-1]["name"], "shape": [held, layout[-1]["shape"][1]]}]


def encode_with_rows(values, layout, rows, encode) -> bytes:
    """encode: a codec's writer of values over a layout."""
    rows_in_all, width = layout[-1]["shape"]
    if len(rows) == rows_in_all:
        return encode(values, layout)
    before = sum(map(size, layout[:-1]))
    held = values[:before]
    for row in rows:
        held = held + values[before + row * width : before + (row + 1) * width]
    inner = encode(held, sub_layout(layout, len(rows)))
    # The header names the layout of the run.
    inner = inner[:8] + layout_digest(layout)[:8] + inner[16:]
    encoded = encode_rows(rows, rows_in_all)
    return inner + encoded + struct.pack("<I", len(encoded))


def decode_with_rows(payload, layout, decode):
    """The rows, and the grid over the whole layout: None in rows that are not held."""
    rows_in_all, width = layout[-1]["shape"]
    before = sum(map(size, layout[:-1]))
    held = (struct.unpack_from("<I", payload, 20)[0] - before) // width
    if held == rows_in_all:
        return list(range(rows_in_all)), decode(payload, layout)
    length = struct.unpack_from("<I", payload, len(payload) - 4)[0]
    rows = decode_rows(payload[-4 - length : -4], held, rows_in_all)
    inner = decode(payload[: -4 - length], sub_layout(layout, held))
    grid = inner[:before] + [None] * (rows_in_all * width)
    for at, row in enumerate(rows):
        grid[before + row * width : before + (row + 1) * width] = inner[before + at * width : before + (at + 1) * width]
    return rows, grid


# -- averaging, roots, sets, ids -----------------------------------------------------------------------------------


def average(body, updates, outer_rate=1):
    """updates: (grid, weight) of one round; None in a grid is a value that the update does not hold.

    All integers; one division and one rounding to float32 per value.
    """
    result = []
    for index, value in enumerate(body):
        holders = [(grid[index], weight) for grid, weight in updates if grid[index] is not None]
        total = sum(weight for _, weight in holders)
        if total == 0:
            result.append(value)
            continue
        numerator = sum(weight * units for units, weight in holders)
        quotient = numerator / total
        down = floor(quotient)
        mean = down + 1 if quotient - down >= 0.5 else down
        result.append(f32(value - min(outer_rate, len(updates)) * mean / GRID))
    return result


# -- defence -------------------------------------------------------------------------------------------------------


def without_copies(updates):
    by_payload = {}
    for update in sorted(updates, key=lambda u: (-u["weight"], u["key"])):
        by_payload.setdefault(update["payloadId"], update)
    return [by_payload[payload] for payload in sorted(by_payload)]


def traits(grid, layout):
    """Of each tensor the root of the mean square and the number of values held."""
    at, result = 0, []
    for tensor in layout:
        held = [q for q in grid[at : at + size(tensor)] if q is not None]
        squares = 0.0
        for q in held:
            squares += float(q) * float(q)
        result.append((sqrt(squares / len(held)), len(held)))
        at += size(tensor)
    return result


def signs(grid, layout, own):
    at, result = 0, []
    for tensor, (rms, _) in zip(layout, own):
        for q in grid[at : at + size(tensor)]:
            result.append(0 if not q or abs(q) < rms / 2 else 1 if q > 0 else -1)
        at += size(tensor)
    return result


def agreement(a, b):
    products = [x * y for x, y in zip(a, b)]
    difference, shared = sum(products), sum(map(abs, products))
    beyond = abs(difference) - 3 * sqrt(shared)
    return (1 if difference > 0 else -1) * beyond / shared if beyond > 0 else 0


def median(values):
    return sorted(values)[len(values) // 2]


def median_above_0(values):
    positive = [value for value in values if value > 0]
    return median(positive) if positive else inf


def jury(updates):
    if len(updates) <= 64:
        return updates
    members = sha256("".join(update["payloadId"] + "\n" for update in updates).encode()).hex()
    return sorted(updates, key=lambda u: sha256(f"{members}/{u['payloadId']}".encode()).hex())[:64]


def opposed(updates, layout, drawn):
    if len(updates) < 5:
        return []
    own = {u["payloadId"]: signs(u["grid"], layout, traits(u["grid"], layout)) for u in updates}
    known = {}

    def agrees(a, b):
        pair = tuple(sorted((a["payloadId"], b["payloadId"])))
        if pair not in known:
            known[pair] = agreement(own[pair[0]], own[pair[1]])
        return known[pair]

    scores = [median([agrees(a, b) for b in drawn if b is not a]) for a in updates]
    middle = median(scores)
    deviation = median([abs(score - middle) for score in scores])
    bound = min(0, middle) - max(0.1, 6 * deviation)
    out = [update for update, score in zip(updates, scores) if score < bound]
    return out if 2 * len(out) < len(updates) else []


def clip(updates, layout):
    """Of each update the factor of each tensor."""
    if not updates:
        return []
    own = [traits(update["grid"], layout) for update in updates]
    factors = [[1.0] * len(layout) for _ in updates]
    for t in range(len(layout)):
        bound = 3 * median_above_0([o[t][0] for o in own])
        for f, o in zip(factors, own):
            if o[t][0] > bound:
                f[t] = bound / o[t][0]

    def whole(o, f):
        squares = 0.0
        for (rms, count), factor in zip(o, f):
            squares += ((rms * factor) * (rms * factor)) * count
        return sqrt(squares / sum(count for _, count in o))

    wholes = [whole(o, f) for o, f in zip(own, factors)]
    bound = 1.5 * median_above_0(wholes)
    return [[x * (bound / w) for x in f] if w > bound else f for f, w in zip(factors, wholes)]


def defended(updates, layout, rule):
    """(grid, weight) as average() takes them, and why others than whole updates are: by key."""
    distinct, why = without_copies(updates), {}
    for update in updates:
        if update not in distinct:
            why[update["key"]] = "copied"
    out = opposed(distinct, layout, jury(distinct)) if rule == "majority" else []
    for update in out:
        why[update["key"]] = "opposed"
    left = [update for update in distinct if update not in out]
    counted = []
    for update, factors in zip(left, clip(left, layout)):
        grid = update["grid"]
        if any(factor != 1 for factor in factors):
            why[update["key"]] = "clipped"
            by_value = [factor for tensor, factor in zip(layout, factors) for _ in range(size(tensor))]
            grid = [None if q is None else floor(q * factor + 0.5) for q, factor in zip(grid, by_value)]
        counted.append((grid, update["weight"]))
    return counted, why


def tile_ids(body: bytes):
    return [sha256(body[at : at + 262144]) for at in range(0, len(body), 262144)]


def root(body: bytes) -> bytes:
    level = [sha256(b"\0" + tile) for tile in tile_ids(body)]
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [sha256(b"\1" + pair[0] + pair[1]) if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0]


def statement(announcement) -> bytes:
    return sha256(("glossa/update/1\n" + canonical(announcement)).encode())


def set_digest(ids, first) -> bytes:
    kept = sorted({(i["round"], i["author"], i["statement"]) for i in ids if i["round"] >= first})
    return sha256(("glossa/update-set/1\n" + "".join("/".join(map(str, key)) + "\n" for key in kept)).encode())


ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58(data: bytes) -> str:
    value, text = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        text = ALPHABET[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def invite(run_id: str, addresses) -> str:
    content = bytes.fromhex(run_id) + bytes([len(addresses)])
    for address in addresses:
        content += struct.pack("<H", len(address.encode())) + address.encode()
    return "glossa1" + base58(content + sha256(b"glossa1" + content)[:4])


# -- the vectors ---------------------------------------------------------------------------------------------------


def pseudo_random(seed: int, count: int, amplitude: float):
    """Values of a linear congruential generator in ±amplitude, exact in float32 where amplitude is a power of two."""
    values = []
    for _ in range(count):
        seed = (1664525 * seed + 1013904223) % 2**32
        values.append(((seed >> 9) / 2**22 - 1) * amplitude)
    return values


SPARSE_LAYOUT = [
    {"name": "a", "shape": [70, 64]},
    {"name": "b", "shape": [300]},
    {"name": "c", "shape": [2, 2, 3]},
]

LAYOUT = [
    {"name": "blocks.0.norm_1.weight", "shape": [3]},
    {"name": "blocks.0.attn.Wqkv.weight", "shape": [15, 20]},
    {"name": "blocks.0.ffn.up_proj.weight", "shape": [2, 5]},
]
TOTAL = sum(map(size, LAYOUT))

ROWS_LAYOUT = [
    {"name": "norm", "shape": [8]},
    {"name": "matrix", "shape": [3, 8]},
    {"name": "transformer.wte.weight", "shape": [40, 8]},
]

CONFIG = {
    "name": "drei Zungen für हिन्दी",
    "seed": 7,
    "variant": "spec-opt",
    "model": {"blocks": 4, "width": 128, "heads": 4, "sequenceLength": 128},
    "training": {
        "batchSize": 16,
        "localSteps": 25,
        "rounds": 12,
        "warmupSteps": 20,
        "learningRate": 0.0006,
        "finalLearningRateRatio": 0.1,
        "beta1": 0.9,
        "beta2": 0.95,
        "epsilon": 1e-8,
        "weightDecay": 0,
        "gradientClip": 1,
        "momentsAcrossRounds": "keep",
        "embeddingWarmupSteps": 20,
    },
    "averaging": {
        "codec": "int8",
        "topK": 64,
        "errorFeedbackDecay": 1,
        "outerLearningRate": 1,
        "weighting": "tokens",
        "cohort": 32,
        "defence": "majority",
        "openRounds": 2,
        "minimumPeers": 1,
        "newcomerRounds": 4,
        "quorum": 0.5,
        "maxRoundMs": 600000,
        "overlap": "off",
        "pacing": "off",
    },
}


def payload_vectors():
    values = pseudo_random(1, TOTAL, 2**-8)
    vectors = {}
    for name, encode, decode in [
        ("float32", encode_float32, decode_float32),
        *(
            (name, lambda v, l, name=name: encode_blocks(name, v, l), lambda p, l, name=name: decode_blocks(name, p, l))
            for name in BLOCK_CODECS
        ),
        ("topk", lambda v, l: encode_topk(v, l, 64), lambda p, l: decode_topk(p, l, 64)),
    ]:
        payload = encode(values, LAYOUT)
        grid = decode(payload, LAYOUT)
        vectors[name] = {"payload": payload.hex(), "grid": grid}
    return {"values": floats(values).hex(), **vectors}


def sparse_vectors():
    """topk where matrices exceed a chunk, for three k; grids by the SHA-256 of their integers as int64."""
    values = [value**3 for value in pseudo_random(5, sum(map(size, SPARSE_LAYOUT)), 1)]
    values = [f32(value) for value in values]
    cases = []
    for k in (16, 100, 1024):
        payload = encode_topk(values, SPARSE_LAYOUT, k)
        grid = decode_topk(payload, SPARSE_LAYOUT, k)
        digest = sha256(struct.pack(f"<{len(grid)}q", *grid)).hex()
        cases.append({"k": k, "payload": payload.hex(), "entries": sum(q != 0 for q in grid), "gridDigest": digest})
    return {"tensors": SPARSE_LAYOUT, "seed": 5, "cases": cases}


CODECS = {
    "float32": (encode_float32, decode_float32),
    "int8": (encode_int8, decode_int8),
    "topk": (lambda v, l: encode_topk(v, l, 64), lambda p, l: decode_topk(p, l, 64)),
}


def rows_vectors():
    """Sets of rows, payloads with rows, and bodies averaged over those that hold each row."""
    sets = []
    for rows_in_all, rows in [
        (2, [1]),
        (10, [0, 1, 2, 5, 9]),
        (300, [299]),
        (300, [7, 8, 9, 100, 250, 251]),
        (300, list(range(0, 300, 2))),
        (50257, list(range(0, 1000)) + list(range(1000, 50257, 97))),
        (1048576, list(range(13, 1048576, 40009))),
    ]:
        encoded = encode_rows(rows, rows_in_all)
        assert decode_rows(encoded, len(rows), rows_in_all) == rows
        digest = sha256(struct.pack(f"<{len(rows)}I", *rows)).hex()
        sets.append({"size": rows_in_all, "held": len(rows), "encoded": encoded.hex(), "rowsDigest": digest})
    total = sum(map(size, ROWS_LAYOUT))
    values = pseudo_random(6, total, 2**-7)
    payloads = []
    for codec, (encode, decode) in CODECS.items():
        for rows in ([0, 1, 2, 17, 39], list(range(40))):
            payload = encode_with_rows(values, ROWS_LAYOUT, rows, encode)
            read, grid = decode_with_rows(payload, ROWS_LAYOUT, decode)
            assert read == rows
            digest = sha256(struct.pack(f"<{total}q", *[q or 0 for q in grid])).hex()
            held = None if len(rows) == 40 else rows
            payloads.append({"codec": codec, "heldRows": held, "payload": payload.hex(), "gridDigest": digest})
    body = [f32(value) for value in pseudo_random(8, total, 2**-4)]
    updates, bodies, rounds = [], [floats(body).hex()], {0: [], 1: []}
    for seed, (number_of_round, author, weight, rows) in enumerate(
        [
            (0, "alice", 256, [0, 1, 2, 3, 30]),
            (0, "bob", 3, [2, 3, 4, 39]),
            (0, "carol", 2047, list(range(40))),
            (1, "alice", 1, [0, 1, 2, 3, 30]),
            (1, "bob", 500, [2, 3, 4, 39]),
        ]
    ):
        payload = encode_with_rows(pseudo_random(200 + seed, total, 2.0 ** -(3 + seed)), ROWS_LAYOUT, rows, encode_int8)
        rounds[number_of_round].append((decode_with_rows(payload, ROWS_LAYOUT, decode_int8)[1], weight))
        updates.append({"round": number_of_round, "author": author, "weight": weight, "payload": payload.hex()})
    for at in range(2):
        body = average(body, rounds[at])
        bodies.append(floats(body).hex())
    roots = [root(bytes.fromhex(b)).hex() for b in bodies]
    averaging = {"updates": updates, "bodies": bodies, "roots": roots}
    return {
        "tensors": ROWS_LAYOUT,
        "sets": sets,
        "values": floats(values).hex(),
        "payloads": payloads,
        "averaging": averaging,
    }


def shared_manifest():
    """Of a run that shares an embedding and starts from a given body."""
    config = {
        **CONFIG,
        "variant": "trim",
        "vocabulary": {"tokenizer": "ab" * 32, "size": 40},
        "initialBody": "cd" * 32,
        "model": {**CONFIG["model"], "width": 8},
    }
    text = canonical({"version": 1, "config": config, "layout": ROWS_LAYOUT})
    return {"text": text, "runId": sha256(text.encode()).hex()}


def outer_rate_vectors(outer_rate, averaging):
    """The bodies of averaging_vectors' updates with an outer learning rate."""
    body = list(struct.unpack(f"<{TOTAL}f", bytes.fromhex(averaging["bodies"][0])))
    roots = []
    for at in range(4):
        own = [update for update in averaging["updates"] if update["round"] == at]
        grids = [(decode_int8(bytes.fromhex(update["payload"]), LAYOUT), update["weight"]) for update in own]
        body = average(body, grids, outer_rate)
        roots.append(root(floats(body)).hex())
    return {"outerLearningRate": outer_rate, "roots": roots}


def averaging_vectors():
    body = [f32(value) for value in pseudo_random(2, TOTAL, 2**-4)]
    updates, bodies = [], [floats(body).hex()]
    rounds = {0: [], 1: [], 3: []}
    for seed, (number_of_round, author, weight) in enumerate(
        [(0, "alice", 256), (0, "bob", 1), (0, "carol", 2047), (1, "bob", 13), (3, "alice", 7), (3, "carol", 300)]
    ):
        payload = encode_int8(pseudo_random(100 + seed, TOTAL, 2.0 ** -(4 + seed)), LAYOUT)
        rounds[number_of_round].append((decode_int8(payload, LAYOUT), weight))
        updates.append({"round": number_of_round, "author": author, "weight": weight, "payload": payload.hex()})
    for at in range(4):
        body = average(body, rounds.get(at, []))
        bodies.append(floats(body).hex())
    return {"updates": updates, "bodies": bodies, "roots": [root(bytes.fromhex(b)).hex() for b in bodies]}


def defence_vectors():
    """Rounds with honest updates that share a direction, a loud one, one against the others and a copy."""

    def made(layout, values, encode, decode, author, weight):
        payload = encode(values, layout)
        payload_id = sha256(payload).hex()
        key = f"0/{author}/{sha256(author.encode()).hex()}"
        return {"key": key, "weight": weight, "payloadId": payload_id, "payload": payload, "grid": decode(payload)}

    def round_of(layout, codec, rows):
        encode, decode = CODECS[codec]
        total = sum(map(size, layout))
        common = pseudo_random(31, total, 2**-6)
        updates = []
        for at in range(7):
            own = pseudo_random(900 + 77 * at, total, 2**-6)
            values = [f32(0.5 * a + 0.5 * b) for a, b in zip(common, own)]
            if at == 5:
                values = [f32(32 * value) for value in values]
            if at == 6:
                values = [f32(0.25 * b - a) for a, b in zip(common, own)]
            held = rows[at] if rows else None
            if held:
                pair = (lambda v, l: encode_with_rows(v, l, held, encode), lambda p: decode_with_rows(p, layout, decode)[1])
            else:
                pair = (encode, lambda p: decode(p, layout))
            updates.append(made(layout, values, *pair, f"author-{at}", 1 + 100 * at))
        copied = updates[1]
        key = f"0/copier/{sha256(b'copier').hex()}"
        return [*updates, {**copied, "key": key, "weight": 900}]

    def crowd(seed):
        """Seventy updates, ever more against the common direction: who is left out depends on the jury."""
        layout = [{"name": "m", "shape": [8, 32]}]
        common = pseudo_random(17, 256, 2**-6)
        updates = []
        for at in range(70):
            own = pseudo_random(seed + 1001 * at, 256, 2**-6)
            share = 0.5 if at < 45 else 0.5 - 0.05 * (at - 44)
            values = [f32(share * a + 0.5 * b) for a, b in zip(common, own)]
            updates.append(made(layout, values, encode_int8, lambda p: decode_int8(p, layout), f"author-{at:02}", 1))
        return layout, updates

    many_rows = [list(range(at, 40, 1 + at % 3)) for at in range(7)]
    cases = [
        ("spec-opt", "int8", LAYOUT, round_of(LAYOUT, "int8", None)),
        ("spec-opt", "topk", SPARSE_LAYOUT, round_of(SPARSE_LAYOUT, "topk", None)),
        ("trim", "int8", ROWS_LAYOUT, round_of(ROWS_LAYOUT, "int8", many_rows)),
    ]
    for seed in range(1, 100):
        layout, updates = crowd(seed)
        distinct = without_copies(updates)
        if opposed(distinct, layout, jury(distinct)) != opposed(distinct, layout, distinct):
            cases.append(("spec-opt", "int8", layout, updates))
            break
    result = []
    for variant, codec, layout, updates in cases:
        body = [f32(value) for value in pseudo_random(3, sum(map(size, layout)), 2**-4)]
        outcomes = {}
        for rule in ("clip", "majority"):
            counted, why = defended(updates, layout, rule)
            after = average(body, counted)
            outcomes[rule] = {"root": root(floats(after)).hex(), "why": dict(sorted(why.items()))}
        shown = [{"key": u["key"], "weight": u["weight"], "payload": u["payload"].hex()} for u in updates]
        result.append({"variant": variant, "codec": codec, "tensors": layout, "updates": shown, "outcomes": outcomes})
    return {"bodySeed": 3, "cases": result}


def merkle_vectors():
    vectors = []
    for count in (1, 65536, 65537, 200000):
        body = floats(pseudo_random(count, count, 0.25))
        vectors.append({"values": count, "tiles": [t.hex() for t in tile_ids(body)], "root": root(body).hex()})
    return {"amplitude": 0.25, "bodies": vectors}


def rank(run_id, number_of_round, author):
    return int.from_bytes(sha256(f"glossa/cohort/1\n{run_id}/{number_of_round}/{author}".encode())[:6], "big")


def cohort_vectors():
    run_id, authors = "5e" * 32, [f"author-{at}" for at in range(12)]
    rounds = []
    for number_of_round in (0, 7, 70000):
        ranks = {author: rank(run_id, number_of_round, author) for author in authors}
        drawn = sorted(authors, key=lambda author: (ranks[author], author))[:5]
        rounds.append({"round": number_of_round, "ranks": ranks, "drawn": drawn})
    return {"runId": run_id, "size": 5, "rounds": rounds}


def update_set_vectors():
    ids = [
        {"round": number_of_round, "author": author, "statement": sha256(f"{number_of_round}{author}".encode()).hex()}
        for number_of_round, author in [(10, "bob"), (9, "bob"), (2, "carol"), (10, "alice"), (10, "Zoe")]
    ]
    return {"ids": ids, "digests": {str(first): set_digest(ids, first).hex() for first in (0, 9, 10, 11)}}


def weight(weighting, newcomer_rounds, expected, tokens, probation):
    full = max(1, newcomer_rounds)
    grown = max(1, full - probation)
    if weighting == "uniform":
        return grown
    return min(2047, max(1, floor(256 * tokens / expected * (grown / full) + 0.5)))


def weight_vectors():
    expected = 16 * 128 * 25
    cases = [
        (weighting, newcomer_rounds, tokens, probation)
        for weighting in ("uniform", "tokens")
        for newcomer_rounds in (0, 3, 4, 16)
        for tokens in (1, 777, expected // 3, expected, 9 * expected)
        for probation in (0, 1, 2, 15, 99)
    ]
    return [[*case, weight(case[0], case[1], expected, case[2], case[3])] for case in cases]


def statement_vectors():
    first = {
        "runId": "a1" * 32,
        "round": 7,
        "author": "12D3KooWExample",
        "payload": "b2" * 32,
        "payloadBytes": 1000000,
        "baseRoot": "c3" * 32,
        "tokens": 2097152,
        "lossNatsPerToken": 3.5,
        "bitsPerByte": 1.1754943508222875e-38,
    }
    others = [("probation", 3), ("tokens", 2**53 - 1), ("tokens", 0), ("lossNatsPerToken", 0), ("baseRoot", "00" * 32), ("payload", "b3" * 32)]
    announcements = [first] + [{**first, field: value} for field, value in others]
    return [{"announcement": said, "statement": statement(said).hex()} for said in announcements]


def main():
    manifest = canonical({"version": 1, "config": CONFIG, "layout": LAYOUT})
    run_id = sha256(manifest.encode()).hex()
    addresses = ["/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWExample", "/dns4/example.org/tcp/4001"]
    numbers = [0, -0.0, 1, -1.5, 1e21, 123456789012345680000, 1e-6, 1e-7, 5e-324, 0.1, 0.0006, 1e-8, 1.7976931348623157e308]
    vectors = {
        "canonicalNumbers": [number(value) for value in numbers],
        "layout": {"tensors": LAYOUT, "digest": layout_digest(LAYOUT).hex()},
        "payloads": payload_vectors(),
        "sparse": sparse_vectors(),
        "averaging": (averaging := averaging_vectors()),
        "outerRate": [outer_rate_vectors(rate, averaging) for rate in (0.703125, 1, 2, 5)],
        "rows": rows_vectors(),
        "defence": defence_vectors(),
        "merkle": merkle_vectors(),
        "statements": statement_vectors(),
        "weights": weight_vectors(),
        "updateSet": update_set_vectors(),
        "cohort": cohort_vectors(),
        "manifest": {"text": manifest, "runId": run_id},
        "sharedManifest": shared_manifest(),
        "invite": {"runId": run_id, "addresses": addresses, "text": invite(run_id, addresses)},
        "emptyInvite": {"runId": "00" * 32, "addresses": [], "text": invite("00" * 32, [])},
    }
    print(json.dumps(vectors, ensure_ascii=False, indent=2))


main()
