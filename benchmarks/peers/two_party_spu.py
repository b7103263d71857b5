"""Times an encoder layer in SPU between two processes, in the environment of `benchmarks.two_party_peers`.

The argument is JSON (`two_party_setting.Setting`; `protocol` is SEMI2K or CHEETAH). Prints one line of JSON:
`seconds` is the layer as users run it. In SEMI2K the first party makes the correlated randomness while both
compute; CHEETAH has no dealer, the parties make it by homomorphic encryption and oblivious transfer.

GELU and softmax are those of PUMA (Dong et al., 2023), which SPU's examples put in place of JAX's own: they
are faster.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from typing import Any

import jax.numpy as jnp
import numpy as np
import spu
from jax import lax
from spu import libspu
from spu.utils import frontend
from two_party_setting import Setting, addresses, report


def gelu(x: Any) -> Any:
    """0, a cubic, an even polynomial plus x / 2, or x."""
    second, below, start, above = x * x, x < -4.0, x < -1.95, x > 3.0
    fourth = second * second
    left = -0.505403120 - 0.422265812 * x - 0.118076130 * second - 0.011034134 * second * x
    middle = 0.008526322 + 0.5 * x + 0.360329269 * second - 0.037688200 * fourth
    middle += 0.001806746 * fourth * second
    return (below ^ start) * left + jnp.logical_not(start | above) * middle + above * x


def softmax(x: Any) -> Any:
    """Exponentials less than a millionth are 0."""
    x = x - jnp.max(x, axis=-1, keepdims=True)
    powers = (x > -14.0) * jnp.exp(x)
    return powers / jnp.sum(powers, axis=-1, keepdims=True)


def norm(x: Any, gamma: Any, beta: Any) -> Any:
    """LayerNorm."""
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    return x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-5) * gamma + beta


def layer(heads: int) -> Any:
    """The layer as a function of its input and arrays."""

    def run(x: Any, *arrays: Any) -> Any:
        wq, bq, wk, bk, wv, bv, wo, bo, g1, h1, wi, bi, wf, bf, g2, h2 = arrays
        tokens, width = x.shape

        def split(value: Any) -> Any:
            return value.reshape(tokens, heads, width // heads).transpose(1, 0, 2)

        q, k, v = (split(x @ w.T + b) for w, b in ((wq, bq), (wk, bk), (wv, bv)))
        weights = softmax(q * (width // heads) ** -0.5 @ k.transpose(0, 2, 1))
        mixed = (weights @ v).transpose(1, 0, 2).reshape(tokens, width)
        x = norm(x + mixed @ wo.T + bo, g1, h1)
        return norm(x + gelu(x @ wi.T + bi) @ wf.T + bf, g2, h2)

    return run


def configuration(protocol: str) -> Any:
    """Defaults but for the protocol."""
    kinds = {"SEMI2K": libspu.ProtocolKind.SEMI2K, "CHEETAH": libspu.ProtocolKind.CHEETAH}
    return libspu.RuntimeConfig(protocol=kinds[protocol], field=libspu.FieldType.FM64)


def compiled(run: Any, arrays: list[np.ndarray]) -> Any:
    """The layer as SPU's program; x / broadcast(y) as x * broadcast(1 / y), as SPU's examples have it."""
    options = libspu.CompilerOptions()
    options.enable_optimize_denominator_with_broadcast = True
    names = [f"in{i}" for i in range(len(arrays))]
    secret = [libspu.Visibility.VIS_SECRET] * len(arrays)
    kind = frontend.Kind.JAX
    return frontend.compile(kind, run, tuple(arrays), {}, names, secret, lambda _: ["out"], copts=options)[0]


def party(rank: int, hosts: list[str], setting: Setting, program: Any, shares: Any, found: Any) -> None:
    """One of the two processes: the seconds of each run, and its share of the answer."""
    description = libspu.link.Desc()
    description.recv_timeout_ms = 600_000
    for i, host in enumerate(hosts):
        description.add_party(f"party{i}", host)
    link = libspu.link.create_brpc(description, rank)
    runtime = spu.Runtime(link, configuration(setting.protocol))
    for name, share in zip(program.input_names, shares, strict=True):
        runtime.set_var(name, share)
    times = []
    for _ in range(setting.repeats):
        link.barrier()
        start = time.perf_counter()
        runtime.run(program)
        times.append(time.perf_counter() - start)
    found.put((rank, times, runtime.get_var("out")))
    link.stop_link()


def main() -> None:
    setting = Setting.read(sys.argv[1])
    arrays = [array.astype(np.float32) for array in (setting.x, *setting.arrays)]
    program = compiled(layer(setting.heads), arrays)
    io = spu.Io(2, configuration(setting.protocol))
    shares = [io.make_shares(array, libspu.Visibility.VIS_SECRET) for array in arrays]
    context = multiprocessing.get_context("spawn")
    found, hosts = context.Queue(), addresses()
    parties = [
        context.Process(
            target=party, args=(i, hosts, setting, program, [s[i] for s in shares], found), daemon=True
        )
        for i in range(2)
    ]
    for process in parties:
        process.start()
    done = sorted((found.get(timeout=setting.limit_s) for _ in parties), key=lambda one: one[0])
    for process in parties:
        process.join()
    answer = io.reconstruct([share for _, _, share in done])
    seconds = np.max([times for _, times, _ in done], axis=0).min()
    report(setting, spu.__version__, {"seconds": float(seconds)}, answer)


if __name__ == "__main__":
    main()
