"""OpenFHE's bootstrapping. Run by a Python 3.10 interpreter with `openfhe` and numpy; prints one JSON line.

N = 2^16, 32768 complex slots, HEStd_128_classic, level budgets 3 and 3. `slots_first`: its variant with slots
to coefficients first.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np
import openfhe

BUDGET = [3, 3]


def main() -> None:
    setting = json.loads(sys.argv[1])
    slots = 1 << (setting["log_n"] - 1)
    parameters = openfhe.CCParamsCKKSRNS()
    parameters.SetSecretKeyDist(getattr(openfhe.SecretKeyDist, setting["secret"]))
    secure = openfhe.SecurityLevel.HEStd_128_classic
    parameters.SetSecurityLevel(secure if setting["log_n"] >= 16 else openfhe.SecurityLevel.HEStd_NotSet)
    parameters.SetRingDim(2 * slots)
    parameters.SetCKKSDataType(openfhe.CKKSDataType.COMPLEX)
    parameters.SetScalingModSize(setting["scale_bits"])
    parameters.SetFirstModSize(setting["first_bits"])
    parameters.SetScalingTechnique(openfhe.ScalingTechnique.FLEXIBLEAUTO)
    parameters.SetKeySwitchTechnique(openfhe.KeySwitchTechnique.HYBRID)
    parameters.SetNumLargeDigits(setting["dnum"])
    parameters.SetMultiplicativeDepth(setting["depth"])
    context = openfhe.GenCryptoContext(parameters)
    for feature in ("PKE", "KEYSWITCH", "LEVELEDSHE", "ADVANCEDSHE", "FHE"):
        context.Enable(getattr(openfhe.PKESchemeFeature, feature))
    context.EvalBootstrapSetup(BUDGET, [0, 0], slots, 0, True, setting["slots_first"])
    keys = context.KeyGen()
    context.EvalMultKeyGen(keys.secretKey)
    context.EvalBootstrapKeyGen(keys.secretKey, slots)
    rng = np.random.default_rng(1)
    values = rng.uniform(-1, 1, slots) + 1j * rng.uniform(-1, 1, slots)
    lowest = setting["depth"] - (BUDGET[1] + 1 if setting["slots_first"] else 1)
    plain = context.MakeCKKSPackedPlaintext(values.tolist(), 1, lowest, None, slots)
    x = context.Encrypt(keys.publicKey, plain)
    times = []
    for _ in range(setting["repeat"]):
        start = time.perf_counter()
        y = context.EvalBootstrap(x)
        times.append(time.perf_counter() - start)
    found = context.Decrypt(keys.secretKey, y)
    found.SetLength(slots)
    error = np.abs(np.asarray(found.GetCKKSPackedValue()) - values)
    left = setting["depth"] - y.GetLevel() - (y.GetNoiseScaleDeg() - 1)
    metrics = {
        "seconds": float(np.median(times)),
        "levels_left": left - (BUDGET[1] if setting["slots_first"] else 0),
        "precision_bits": float(-np.log2(error.mean())),
        "precision_bits_worst": float(-np.log2(error.max())),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    order = "slots to coefficients first" if setting["slots_first"] else "modulus raise first"
    told = {"order": order, **{k: setting[k] for k in ("log_n", "depth", "scale_bits", "dnum", "secret")}}
    sys.stdout.write(
        json.dumps({"version": openfhe.__version__, "parameters": told, "metrics": metrics}) + "\n"
    )


if __name__ == "__main__":
    main()
