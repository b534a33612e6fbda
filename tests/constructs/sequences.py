"""Recurrent layers, attention, and the layers around them in networks of speech and language."""

from __future__ import annotations

import numpy as np

from constructs.construct import FLAG, Array, Draft, Table

TABLE = Table("sequences", [])


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


# -- recurrent -----------------------------------------------------------------------------------------


def _recurrent(net: Draft, gates: int, biases: int, size: int, out: int, ways: int) -> list[Array]:
    """Weights of the input, biases, and weights of the hidden state, each (ways, ...)."""
    return [
        net.draw(ways, gates * out, size, size=0.4),
        net.draw(ways, biases, out, size=0.3),
        net.draw(ways, gates * out, out, size=0.4),
    ]


def _flagged(tensors: list[Array]) -> list[Array]:
    return [part for tensor in tensors for part in (FLAG, tensor)][1:]


def gru_steps(x: Array, h: Array, weights: list[Array]) -> tuple[Array, Array]:
    """As PyTorch's GRU: gates reset, update, new; four biases."""
    xc, b, hc = weights
    n, outputs = len(h), []
    for row in x:
        a, c = xc @ row, hc @ h
        r = sigmoid(a[:n] + c[:n] + b[0])
        u = sigmoid(a[n : 2 * n] + c[n : 2 * n] + b[1])
        new = np.tanh(a[2 * n :] + b[2] + r * (c[2 * n :] + b[3]))
        h = (1 - u) * new + u * h
        outputs.append(h)
    return np.array(outputs), h


@TABLE.row()
def gru_both_ways_with_hidden_state(net: Draft) -> dict[str, Array]:
    x, h = net.feed(5, 6), net.feed(2, 4)
    weights = _recurrent(net, 3, 4, 6, 4, 2)
    net.layer("GRU", "gru", ["in0", "in1"], ["out0", "out1"], "0=4 1=144 2=2", _flagged(weights))
    there, last = gru_steps(x, h[0], [w[0] for w in weights])
    back, first = gru_steps(x[::-1], h[1], [w[1] for w in weights])
    return {"out0": np.hstack([there, back[::-1]]), "out1": np.array([last, first])}


def lstm_steps(x: Array, h: Array, c: Array, weights: list[Array]) -> tuple[Array, Array, Array]:
    """Gates input, forget, output, cell. A fourth tensor projects the hidden state."""
    xc, b, hc, *projection = weights
    outputs = []
    for row in x:
        i, f, o, g = (xc @ row + hc @ h).reshape(4, -1) + b
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        h = projection[0] @ h if projection else h
        outputs.append(h)
    return np.array(outputs), h, c


@TABLE.row()
def lstm_both_ways_with_states(net: Draft) -> dict[str, Array]:
    x, h, c = net.feed(5, 6), net.feed(2, 4), net.feed(2, 4)
    weights = _recurrent(net, 4, 4, 6, 4, 2)
    blobs = ["in0", "in1", "in2"], ["out0", "out1", "out2"]
    net.layer("LSTM", "lstm", *blobs, "0=4 1=192 2=2", _flagged(weights))
    there = lstm_steps(x, h[0], c[0], [w[0] for w in weights])
    back = lstm_steps(x[::-1], h[1], c[1], [w[1] for w in weights])
    whole = np.hstack([there[0], back[0][::-1]])
    return {"out0": whole, "out1": np.array([there[1], back[1]]), "out2": np.array([there[2], back[2]])}


@TABLE.row()
def lstm_projected(net: Draft) -> dict[str, Array]:
    x = net.feed(5, 6)
    shapes = ((1, 32, 6), (1, 4, 8), (1, 32, 3), (1, 3, 8))
    weights = [net.draw(*shape, size=0.4) for shape in shapes]
    net.layer("LSTM", "lstm", ["in0"], ["out0"], "0=3 1=192 3=8", _flagged(weights))
    return {"out0": lstm_steps(x, np.zeros(3), np.zeros(8), [w[0] for w in weights])[0]}


@TABLE.row()
def rnn_backwards(net: Draft) -> dict[str, Array]:
    x = net.feed(5, 6)
    weights = _recurrent(net, 1, 1, 6, 4, 1)
    net.layer("RNN", "rnn", ["in0"], ["out0"], "0=4 1=24 2=1", _flagged(weights))
    xc, b, hc = (w[0] for w in weights)
    h, outputs = np.zeros(4), []
    for row in x[::-1]:
        h = np.tanh(xc @ row + b[0] + hc @ h)
        outputs.append(h)
    return {"out0": np.array(outputs[::-1])}


# -- attention -----------------------------------------------------------------------------------------


def attend(q: Array, k: Array, v: Array, mask: Array | float = 0.0) -> Array:
    """(heads, source, width), (heads, target, width) twice; scaled by the root of the width."""
    return softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]) + mask) @ v


def _projections(net: Draft, width: int, key: int, value: int) -> list[Array]:
    """Weights and biases of query, key, value and output."""
    tensors = []
    for size in (width, key, value, width):
        tensors += [net.draw(width, size, size=0.4), net.draw(width, size=0.3)]
    return tensors


def _half_flagged(tensors: list[Array]) -> list[Array]:
    """Weights have a flag, biases have none."""
    weights, biases = tensors[::2], tensors[1::2]
    return [part for w, b in zip(weights, biases, strict=True) for part in (FLAG, w, b)][1:]


def _heads(x: Array, count: int) -> Array:
    return x.reshape(len(x), count, -1).transpose(1, 0, 2)


def multi_head(q: Array, k: Array, v: Array, tensors: list[Array], mask: Array | float = 0.0) -> Array:
    """Two heads; `k` and `v` are projected already, and (heads, tokens, width)."""
    wq, bq, _, _, _, _, wo, bo = tensors
    context = attend(_heads(q @ wq.T + bq, 2), k, v, mask)
    return context.transpose(1, 0, 2).reshape(len(q), -1) @ wo.T + bo


@TABLE.row()
def multi_head_attention_with_mask(net: Draft) -> dict[str, Array]:
    """Query, key and value of three lengths and widths, and a mask that adds."""
    q, k, v = net.feed(5, 8), net.feed(7, 6), net.feed(7, 4)
    mask = np.where(np.tri(5, 7, 2) > 0, 0.0, -30.0)
    net.feed(values=mask)
    t = _projections(net, 8, 6, 4)
    params = "0=8 1=2 2=64 3=6 4=4 5=1"
    net.layer("MultiHeadAttention", "mha", list(net.inputs), ["out0"], params, _half_flagged(t))
    k, v = _heads(k @ t[2].T + t[3], 2), _heads(v @ t[4].T + t[5], 2)
    return {"out0": multi_head(q, k, v, t, mask)}


@TABLE.row()
def multi_head_attention_of_itself(net: Draft) -> dict[str, Array]:
    x = net.feed(6, 8)
    t = _projections(net, 8, 8, 8)
    net.layer("MultiHeadAttention", "mha", ["in0"], ["out0"], "0=8 1=2 2=64", _half_flagged(t))
    k, v = _heads(x @ t[2].T + t[3], 2), _heads(x @ t[4].T + t[5], 2)
    return {"out0": multi_head(x, k, v, t)}


@TABLE.row(since="1.0.20261020")
def multi_head_attention_with_cache(net: Draft) -> dict[str, Array]:
    """Three tokens behind five that are in the cache, which holds each head's keys and values."""
    x, key, value = net.feed(3, 8), net.feed(2, 5, 4), net.feed(2, 5, 4)
    t = _projections(net, 8, 8, 8)
    outputs = ["out0", "out1", "out2"]
    net.layer(
        "MultiHeadAttention", "mha", list(net.inputs), outputs, "0=8 1=2 2=64 7=1", _half_flagged(t)
    )
    k = np.concatenate([key, _heads(x @ t[2].T + t[3], 2)], 1)
    v = np.concatenate([value, _heads(x @ t[4].T + t[5], 2)], 1)
    return {"out0": multi_head(x, k, v, t), "out1": k, "out2": v}


@TABLE.row(since="1.0.20260114")
def attention_of_grouped_queries(net: Draft) -> dict[str, Array]:
    """Four heads of queries share two of keys and values; a mask."""
    q, k, v = net.feed(4, 5, 8), net.feed(2, 6, 8), net.feed(2, 6, 8)
    mask = np.where(np.tri(5, 6, 1) > 0, 0.0, -30.0)
    net.feed(values=mask)
    net.layer("SDPA", "sdpa", list(net.inputs), ["out0"], "5=1")
    return {"out0": attend(q, k.repeat(2, 0), v.repeat(2, 0), mask)}


@TABLE.row(since="1.0.20260114")
def rotary_embedding(net: Draft) -> dict[str, Array]:
    """Halves turned against each other, then neighbours."""
    x = net.feed(2, 5, 8)
    angle = net.uniform(5, 4, low=-3, high=3)
    c, s = (net.feed(values=np.float32(turn).astype(float)) for turn in (np.cos(angle), np.sin(angle)))
    cosines, sines = net.split("in1", 2), net.split("in2", 2)
    first, second = net.split("in0", 2)
    net.layer("RotaryEmbed", "halves", [first, cosines[0], sines[0]], ["out0"], "0=0")
    net.layer("RotaryEmbed", "neighbours", [second, cosines[1], sines[1]], ["out1"], "0=1")
    a, b = x[..., :4], x[..., 4:]
    halves = np.concatenate([a * c - b * s, a * s + b * c], -1)
    a, b = x[..., ::2], x[..., 1::2]
    return {"out0": halves, "out1": np.stack([a * c - b * s, a * s + b * c], -1).reshape(x.shape)}


# -- around them ---------------------------------------------------------------------------------------


@TABLE.row(since="1.0.20240820")
def rms_norm(net: Draft) -> dict[str, Array]:
    x, gamma = net.feed(3, 5, 8), net.draw(8)
    net.layer("RMSNorm", "norm", ["in0"], ["out0"], "0=8 1=1e-6", [gamma], flagged=False)
    return {"out0": x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * gamma}


@TABLE.row()
def embedded_words(net: Draft) -> dict[str, Array]:
    words = np.array([3, 0, 9, 3, 7])
    net.feed(values=words)
    table, bias = net.draw(10, 6), net.draw(6)
    net.layer("Embed", "embed", ["in0"], ["x"], "0=6 1=10 2=1 3=60", [table, bias])
    net.layer("Softmax", "softmax", ["x"], ["out0"], "0=1 1=1")
    return {"out0": softmax(table[words] + bias)}


@TABLE.row()
def gated_unit(net: Draft) -> dict[str, Array]:
    x, weight, bias = net.feed(5, 6), net.draw(8, 6, size=0.5), net.draw(8)
    params = "3=1 5=1 6=1 8=8 9=6 10=4"  # x times the transposed weights, and a row of biases
    net.layer("Gemm", "gemm", ["in0"], ["x"], params, [weight, FLAG, bias])
    net.layer("GLU", "glu", ["x"], ["out0"], "0=1")
    y = x @ weight.T + bias
    return {"out0": y[:, :4] * sigmoid(y[:, 4:])}
