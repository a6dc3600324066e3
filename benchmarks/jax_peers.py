"""The same recurrences in jax: `jax.jit(lax.scan)` with the input product before the loop, and its gradient."""

import importlib.util
import math


def is_there() -> bool:
    return importlib.util.find_spec("jax") is not None


def recurrences(kind, batch, steps, hidden):
    """forward and forward+backward, functions without arguments."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    draw = np.random.default_rng(0).uniform
    gates, bound = (4 if kind == "LSTM" else 3) * hidden, 1 / math.sqrt(hidden)
    shapes = ((hidden, gates), (hidden, gates), (gates,), (gates,))
    weights = tuple(jnp.asarray(draw(-bound, bound, shape), jnp.float32) for shape in shapes)
    xs = jnp.asarray(draw(-1, 1, (steps, batch, hidden)), jnp.float32)
    cotangent = jnp.asarray(draw(-1, 1, (steps, batch, hidden)), jnp.float32)
    zeros = jnp.zeros((batch, hidden), jnp.float32)

    def lstm(w_h, state, gx):
        h, c = state
        i, f, g, o = jnp.split(gx + h @ w_h, 4, 1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def gru(w_h, b_h, h, gx):
        (rx, zx, nx), (rh, zh, nh) = jnp.split(gx, 3, 1), jnp.split(h @ w_h + b_h, 3, 1)
        r, z = jax.nn.sigmoid(rx + rh), jax.nn.sigmoid(zx + zh)
        h = jnp.tanh(nx + r * nh) * (1 - z) + z * h
        return h, h

    def forward(weights, xs):
        w_x, w_h, b_x, b_h = weights
        if kind == "LSTM":
            return jax.lax.scan(lambda state, gx: lstm(w_h, state, gx), (zeros, zeros), xs @ w_x + b_x + b_h)[1]
        return jax.lax.scan(lambda h, gx: gru(w_h, b_h, h, gx), zeros, xs @ w_x + b_x)[1]

    run = jax.jit(forward)
    gradient = jax.jit(lambda weights, xs: jax.vjp(forward, weights, xs)[1](cotangent))
    return {
        "forward": lambda: run(weights, xs).block_until_ready(),
        "forward+backward": lambda: jax.block_until_ready(gradient(weights, xs)),
    }
