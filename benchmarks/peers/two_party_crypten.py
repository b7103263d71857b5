"""Times an encoder layer in CrypTen between two processes; environment: `benchmarks.two_party_peers`.

The argument is JSON (`two_party_setting.Setting`). Prints one line of JSON: `seconds` is the layer as users
run it, where the first party makes and shares the correlated randomness while both compute; `offline_seconds`
and `online_seconds` are the two apart, with the library's cache of tuples.

CrypTen has no GELU: it is x sigmoid(1.702 x) here. By CrypTen's erf it takes as long, and is far off: a
Taylor series, which means nothing beyond 3. Its converter from ONNX needs names that newer torch lacks;
nothing here uses it, so an empty module stands in for it.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

import torch
from two_party_setting import Setting, report

SERVER, CLIENT = 0, 1


def library() -> Any:
    """CrypTen."""
    absent = types.ModuleType("crypten.nn.onnx_converter")
    vars(absent).update(from_onnx=None, from_pytorch=None, from_tensorflow=None, TF_AND_TF2ONNX=False)
    sys.modules[absent.__name__] = absent
    import crypten

    return crypten


def layer(x: Any, arrays: list[Any], heads: int) -> Any:
    """The layer on CrypTensors."""
    wq, bq, wk, bk, wv, bv, wo, bo, g1, h1, wi, bi, wf, bf, g2, h2 = arrays
    tokens, width = x.size()

    def split(value: Any) -> Any:
        return value.view(tokens, heads, width // heads).transpose(0, 1)

    def norm(value: Any, gamma: Any, beta: Any) -> Any:
        value = value - value.mean(1, keepdim=True)
        return value * (value.square().mean(1, keepdim=True) + 1e-5).inv_sqrt() * gamma + beta

    q, k, v = (split(x.matmul(w.t()) + b) for w, b in ((wq, bq), (wk, bk), (wv, bv)))
    weights = (q * (width // heads) ** -0.5).matmul(k.transpose(1, 2)).softmax(2)
    mixed = weights.matmul(v).transpose(0, 1).reshape(tokens, width)
    x = norm(x + mixed.matmul(wo.t()) + bo, g1, h1)
    inner = x.matmul(wi.t()) + bi
    inner = inner * (inner * 1.702).sigmoid()
    return norm(x + inner.matmul(wf.t()) + bf, g2, h2)


def party(rank: int, rendezvous: str, setting: Setting, found: Any) -> None:
    """One of the two processes."""
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "DISTRIBUTED_BACKEND": "gloo"}
    os.environ["RENDEZVOUS"] = f"file://{rendezvous}"
    torch.set_num_threads(1)
    crypten = library()
    crypten.init()
    crypten.config.cfg.communicator.verbose = True
    arrays = [crypten.cryptensor(torch.from_numpy(array), src=SERVER) for array in setting.arrays]
    x = crypten.cryptensor(torch.from_numpy(setting.x), src=CLIENT)
    crypten.trace(True)
    metrics: dict[str, float] = {}

    def timed(name: str, work: Any) -> Any:
        crypten.communicator.get().barrier()
        start = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - start
        metrics[name] = min(seconds, metrics.get(name, seconds))
        return result

    for _ in range(setting.repeats):
        answer = timed("seconds", lambda: layer(x, arrays, setting.heads).get_plain_text())
        crypten.trace(False)
    for _ in range(setting.repeats):
        timed("offline_seconds", crypten.fill_cache)
        crypten.reset_communication_stats()
        timed("online_seconds", lambda: layer(x, arrays, setting.heads).get_plain_text())
    statistics = crypten.communicator.get().get_communication_stats()
    metrics["online_bytes"], metrics["rounds"] = float(statistics["bytes"]), float(statistics["rounds"])
    found.put((rank, metrics, answer.numpy()))


def main() -> None:
    setting = Setting.read(sys.argv[1])
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = str(Path(folder) / "rendezvous")
        parties = [
            context.Process(target=party, args=(i, rendezvous, setting, found), daemon=True)
            for i in (SERVER, CLIENT)
        ]
        for process in parties:
            process.start()
        done = sorted((found.get(timeout=setting.limit_s) for _ in parties), key=lambda one: one[0])
        for process in parties:
            process.join()
    metrics = {name: max(one[name] for _, one, _ in done) for name in done[0][1]}
    report(setting, library().__version__, metrics, done[CLIENT][2])


if __name__ == "__main__":
    main()
