"""A part of the package imports only what stands above it, and a heavy library has one home."""

from __future__ import annotations

from source import PACKAGE, imports, modules, part

LAYERS = (
    ("errors", "types", "_native"),
    ("approx",),
    ("ops",),
    ("graph",),
    ("kernels", "targets"),
    ("capture", "passes"),
    ("plan",),
    ("backends",),
    ("compiler",),
    ("nn", "train"),
    ("serve", "report", "demo"),
    ("cli",),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

HOMES = {
    "torch": ("backends/fixed_torch.py", "capture", "nn", "train", "demo"),
    "transformers": ("capture", "nn", "train", "demo"),
    "lm_eval": ("train/harness.py",),
    "datasets": ("train/rows.py",),
    "safetensors": ("capture/streamed.py", "train", "demo"),
    "sklearn": ("demo",),
    "matplotlib": ("report/plot.py",),
    "click": ("cli",),
    "rich": ("cli", "demo"),
    "cipherformer._native": ("backends/ckks", "backends/chain.py", "backends/mpc2"),
    "cryptography": ("backends/mpc2/prg.py", "serve/two_party/tls.py"),
    "scipy": ("passes/milp.py",),
    "tenseal": (),
}


def test_every_part_has_its_layer():
    parts = {part(path) for path in modules()} - {"__init__", "__main__"}
    assert parts <= set(RANK), f"give these a place in LAYERS: {sorted(parts - set(RANK))}"


def test_imports_point_upwards():
    wrong = []
    for path in modules():
        here = part(path)
        if here in ("__init__", "__main__"):
            continue
        for line, name in imports(path):
            pieces = name.split(".")
            there = pieces[1] if pieces[0] == "cipherformer" and len(pieces) > 1 else None
            if there in RANK and RANK[there] > RANK[here]:
                wrong.append(f"{path.name}:{line}: {here} must not import {name}")
    assert not wrong, "\n".join(wrong)


def test_heavy_libraries_stay_at_home():
    wrong = []
    for path in modules():
        place = path.relative_to(PACKAGE).as_posix()
        for line, name in imports(path):
            for library, homes in HOMES.items():
                imported = name == library or name.startswith(library + ".")
                if imported and not any(_inside(place, home) for home in homes):
                    wrong.append(f"{place}:{line}: {library} belongs to {', '.join(homes) or 'tests'}")
    assert not wrong, "\n".join(wrong)


def _inside(place: str, home: str) -> bool:
    return place == home or place.startswith((home + "/", home + ".", home + "_"))
