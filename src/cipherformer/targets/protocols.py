"""What protocols on shares charge for the operations of the ring dialect, as data.

A price is by the element: rounds, and bits that one party sends online and receives offline (correlated
randomness beyond what seeds expand to), as lines in the ring's width. Profiles differ in what is dear:
on `additive` shares a truncation costs an opening; on `masked` wires it is free and going back to a wider
ring is not. Passes and reports read profiles; none of them knows a protocol.

Two ways to hold a value. Shares: both parties add to it; a product opens its masked operands. Wires: the
value plus a mask that only the dealer knows is public; a product of wires leaves shares, which are opened
once, where the next operation that is not local needs them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from types import MappingProxyType

from cipherformer.errors import ParameterError
from cipherformer.targets.ring import Truncation

PRICES_FILE = "ring_prices.json"


@dataclass(frozen=True, slots=True)
class Line:
    """slope x width + constant, in bits."""

    slope: float = 0.0
    constant: float = 0.0

    def __call__(self, width: int) -> float:
        """Bits by the element in a ring of this width."""
        return self.slope * width + self.constant


@dataclass(frozen=True, slots=True)
class Price:
    """What one operation costs.

    Args:
        rounds: in which both parties send.
        online: bits by the element that one party sends.
        offline: bits by the element of correlated randomness that one party receives.
    """

    rounds: int = 0
    online: Line = Line()
    offline: Line = Line()


FREE = Price()
KINDS = (
    "input",
    "operand",
    "product",
    "open",
    "trunc",
    "reduce",
    "extend",
    "compare",
    "waves",
    "wave",
    "output",
)
"""What has a price: an input's element, that of a secret operand of a product, a product's result, an opening
(of wires only), a truncation in its ring, a truncate-reduce, a re-extension (by the wider ring), a comparison
with a public threshold and its bit as a number, a sum of sines and cosines by the element and by the wave, an
output's element. Sums, moves, narrowing, products with
single public numbers and with masks of 0 and 1 are local.
"""

OPENING = ("operand", "trunc", "compare", "waves")
"""On shares these open what they read."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """A cost profile.

    Args:
        name: of the profile.
        about: what it stands for, and where its numbers come from.
        truncation: what its truncations compute.
        wires: whether values are masked wires, see above.
        prices: by kind; what is missing is free.
        products: matrix products that one party computes online for a product of two secrets.
        functions: published set of functions that goes with it, or none.
        once: whether what several operations read is opened for the first one only, in the bits that they
            need; prices of what opens an operand include its opening all the same.
    """

    name: str
    about: str
    truncation: Truncation
    wires: bool
    prices: Mapping[str, Price]
    products: int
    functions: str = ""
    once: bool = False

    def price(self, kind: str) -> Price:
        """Of one kind."""
        return self.prices.get(kind, FREE)

    def rest(self, kind: str) -> Price:
        """What is left of a price when the operand is open already."""
        price = self.price(kind)
        if not self.once or kind not in OPENING or price == FREE:
            return price
        return replace(
            price, rounds=price.rounds - 1, online=Line(price.online.slope - 1.0, price.online.constant)
        )


_ONE, _TWO = Line(1.0), Line(2.0)

_COMPARE = Price(2, Line(0.0, 9.0), Line(1.0, 297.0))
"""Dealer tables on the public masked value: 8 bits in one round (37 bytes dealt), then the bit as a share of
a number: one more bit and round.
"""

_WAVE = Price(0, Line(), Line(0.0, 64.0))
"""The sine and cosine of the mask, dealt as shares."""

_MASKED = {
    "input": Price(1, _ONE),
    "product": Price(0, Line(), _ONE),
    "open": Price(1, _ONE),
    "reduce": Price(0, Line(), _ONE),
    "trunc": Price(1, _ONE, _TWO),
    "extend": Price(1, _ONE, _TWO),
    "compare": _COMPARE,
    "wave": _WAVE,
    "output": Price(1, _ONE),
}

_ADDITIVE = {
    "input": Price(1, _ONE),
    "operand": Price(1, _ONE),
    "product": Price(0, Line(), _ONE),
    "trunc": Price(1, _ONE, Line(1.0, 16.0)),
    "reduce": Price(1, _ONE, _TWO),
    "extend": Price(1, _ONE, _TWO),
    "compare": Price(3, Line(1.0, 9.0), Line(1.0, 297.0)),
    "waves": Price(1, _ONE),
    "wave": _WAVE,
    "output": Price(1, _ONE),
}

_CRYPTEN = {
    "input": Price(1, _ONE),
    "operand": Price(1, _ONE),
    "product": Price(0, Line(), _ONE),
    "compare": Price(8, Line(27.0), Line(14.0)),
    "extend": Price(1, _ONE, _TWO),
    "waves": Price(1, _ONE),
    "wave": _WAVE,
    "output": Price(1, _ONE),
}

_ABY3 = {
    "input": Price(1, _ONE),
    "product": Price(1, _ONE),
    "trunc": Price(1, _ONE, _ONE),
    "reduce": Price(1, _ONE, _ONE),
    "extend": Price(1, _ONE, _TWO),
    "compare": Price(8, Line(8.0)),
    "waves": Price(1, _ONE),
    "wave": _WAVE,
    "output": Price(1, _ONE),
}


def _crypten(name: str) -> Protocol:
    return Protocol(
        name,
        "two parties with triples from a dealer; truncates shares locally, which fails with probability"
        " |x| / 2^64 on the double-scale integer; comparisons by a binary circuit: 9 rounds and 232 bytes"
        " for a ReLU in 64 bits, as measured in CrypTen 0.4.1",
        Truncation.PROBABILISTIC,
        wires=False,
        prices=MappingProxyType(_CRYPTEN),
        products=3,
        functions=name,
    )


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        p.name: p
        for p in (
            Protocol(
                "masked",
                "two parties and a dealer, masked wires (function-dependent preprocessing): an opening for"
                " each product, truncate-reduce without interaction, re-extension with a dealt wrap bit",
                Truncation.TRUNCATE_REDUCE,
                wires=True,
                prices=MappingProxyType(_MASKED),
                products=2,
            ),
            Protocol(
                "additive",
                "two parties and a dealer, additive shares with triples: a truncation opens its operand once,"
                " under a dealt mask whose shifted value is shared too; comparisons as for masked, on an"
                " opened value",
                Truncation.PROBABILISTIC,
                wires=False,
                prices=MappingProxyType(_ADDITIVE),
                products=3,
                once=True,
            ),
            _crypten("crypten"),
            _crypten("secformer"),
            _crypten("shaft"),
            Protocol(
                "puma",
                "three parties, replicated shares (ABY3): one ring element sent for each product; truncation"
                " in one round; comparisons by a parallel-prefix adder, log2(width) + 2 rounds in 64 bits",
                Truncation.PROBABILISTIC,
                wires=False,
                prices=MappingProxyType(_ABY3),
                products=2,
                functions="puma",
            ),
        )
    }
)
"""By name. The published ones are the engines that these systems run on; their functions are chosen apart."""


@dataclass(frozen=True, slots=True)
class Network:
    """A link between the parties.

    Args:
        name: of the profile.
        delay: seconds one way: a round costs one.
        bandwidth: bits in a second, each way.
    """

    name: str
    delay: float
    bandwidth: float

    def seconds(self, rounds: float, bits: float) -> float:
        """Time on the link."""
        return rounds * self.delay + bits / self.bandwidth


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {"lan": Network("lan", 0.25e-3, 1e9), "wan": Network("wan", 40e-3, 100e6)}
)
"""lan: 0.5 ms round trip and 1 Gbit/s; wan: 80 ms and 100 Mbit/s."""


@dataclass(frozen=True, slots=True)
class ComputePrices:
    """Seconds of local arithmetic on one thread, by the ring's width.

    Args:
        product: one multiplication and addition in a matrix product: width of the carrier -> seconds.
        element: one elementwise operation: likewise.
        machine, date: where and when it was measured.
    """

    product: Mapping[int, float]
    element: Mapping[int, float]
    machine: str
    date: str

    @staticmethod
    def default() -> ComputePrices:
        """The table that comes with the package, made by `python -m benchmarks.ring_prices`."""
        text = resources.files("cipherformer.targets").joinpath(PRICES_FILE).read_text()
        d = json.loads(text)
        product, element = ({int(w): float(s) for w, s in d[kind].items()} for kind in ("product", "element"))
        return ComputePrices(product, element, machine=str(d["machine"]), date=str(d["date"]))

    def seconds(self, products: Mapping[int, float], elements: Mapping[int, float]) -> float:
        """Time of counts of operations by width."""
        return sum(n * self._of(self.product, w) for w, n in products.items()) + sum(
            n * self._of(self.element, w) for w, n in elements.items()
        )

    @staticmethod
    def _of(table: Mapping[int, float], width: int) -> float:
        return table[min(w for w in table if w >= width)]


def protocol(name: str) -> Protocol:
    """A profile by name.

    Raises:
        ParameterError: there is none.
    """
    if name not in PROTOCOLS:
        raise ParameterError(f"no protocol is called {name}", fix=f"take one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
